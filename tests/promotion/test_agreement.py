"""What lies in build/ beside what the challenger's alias names."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.promotion import agreement
from pipeline.registry.model_versions import register
from pipeline.registry.package import Candidate
from pipeline.registry.sync import sync
from pipeline.stages.register import document
from tests.support.evidence_documents import complete
from tests.support.tracking_helpers import begin

pytestmark = pytest.mark.untraced


@pytest.fixture
def build(params):
    """Puts a model into build/, as the stages before `register` do."""

    def put(content: bytes, threshold: float = 0.4) -> Candidate:
        with begin() as record:
            record.model_path.write_bytes(content)
        record.copy_to(paths.FINETUNED)
        labels = list(params.labels.names)
        points = {"unsafe": {"classes": ["porn"], "threshold": threshold}}
        part = {
            "labels": labels,
            "unsafe": ["porn"],
            "calibration": {"temperature": 1.1},
            "operating_points": points,
        }
        write_json(complete(part), paths.EVIDENCE / "evidence.json")
        decision = {"labels": labels, "unsafe": ["porn"], "temperature": 1.1, "threshold": threshold}
        names = {"name": "nsfw", "alias": "challenger", "labels": params.labels.names, "unsafe": params.labels.unsafe}
        return Candidate(paths.FINETUNED, **names, size=32, rescaling="unit", evidence={}, decision=decision)

    return put


def registered(candidate: Candidate) -> None:
    """Do what the stage does."""
    write_json(document(candidate, register(candidate)), paths.REGISTERED)


def keep() -> dict[str, bytes]:
    """Return what DVC's run cache would give back."""
    folder = {path: path.read_bytes() for path in sorted(paths.BUILD.rglob("*")) if path.is_file()}
    return {str(path): content for path, content in folder.items()}


def give_back(files: dict[str, bytes]) -> None:
    shutil.rmtree(paths.BUILD)
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def test_after_a_registration_they_agree(client, params, build):
    assert agreement.build_status(client, params.register_) is None
    registered(build(b"one"))
    assert agreement.build_status(client, params.register_) == agreement.BuildStatus(1, 1)
    agreement.check(client, params.register_, None)


def test_a_restored_registration_is_not_the_challenger(client, params, build, nsfw):
    one = build(b"one")
    registered(one)
    before = keep()
    registered(build(b"two"))
    give_back(before)  # `params.yaml` put back, `dvc repro`: nothing runs
    now = agreement.build_status(client, params.register_)
    assert (now.version, now.aliased) == (1, 2)
    for command in (["gates"], ["promote", "--reason", "x"], ["gates", "challenger"], ["compare", "1", "challenger"]):
        code, out, err = nsfw(*command)
        assert (code, out) == (1, ""), command
        assert "holds version 1" in err
        assert "points at version 2" in err
        assert f"`{agreement.MOVE}`" in err
    assert "holds version" not in nsfw("gates", "2")[2]  # by its number it is meant
    registered(one)  # as the command that is named does
    assert agreement.build_status(client, params.register_) == agreement.BuildStatus(1, 1)


def test_another_operating_point_is_another_version(client, params, build):
    registered(build(b"one", 0.4))
    before = keep()
    registered(build(b"one", 0.3))
    give_back(before)
    now = agreement.build_status(client, params.register_)
    assert now.aliased == 2 != now.version


def test_a_store_that_lacks_the_model_is_named_and_sync_registers_it(client, params, build, nsfw, monkeypatch, store):
    registered(build(b"one"))
    written = json.loads(paths.REGISTERED.read_text(encoding="utf-8"))
    assert written["store"] == "sqlite:///mlflow.db"
    other = store.parent / "other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    code, _, err = nsfw("gates")
    assert code == 1
    assert "version 1 of nsfw, registered in sqlite:///mlflow.db, which sqlite:///other.db does not have" in err
    assert "`nsfw sync`" in err
    assert "has no model nsfw. `nsfw sync`" in nsfw("history")[2]
    assert sync().registration.version == 1
    assert "does not have" not in nsfw("gates")[2]


def test_an_alias_that_was_deleted_is_said_to_be(client, params, build):
    registered(build(b"one"))
    client.delete_registered_model_alias("nsfw", "challenger")
    with pytest.raises(UserError, match="points at nothing: `dvc repro -f -s register`"):
        agreement.check(client, params.register_, "challenger")


def test_a_model_that_was_not_registered_yet(client, params, build):
    registered(build(b"one"))
    paths.FINETUNED.joinpath(paths.MODEL_FILE).write_bytes(b"retrained")
    with pytest.raises(UserError, match="another model than build/finetuned: `dvc repro`"):
        agreement.check(client, params.register_, None)
    agreement.check(client, params.register_, "3", "production")
