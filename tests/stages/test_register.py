import json
import time
from pathlib import Path

import pytest
import yaml

from pipeline import paths
from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.params import Params, load_params
from pipeline.stages import register
from pipeline.tracking.record import RunRecord

EVALUATION = {
    "frozen": {"accuracy": 0.8, "macro_recall": 0.79},
    "finetuned": {
        "accuracy": 0.93,
        "macro_recall": 0.92,
        "recall": {"porn": 0.95, "neutral": 0.9},
        "interval": {"recall": [0.9, 0.99]},
        "pictures": 225,
        "passed": True,
        "note": "text",
    },
}
_PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def params() -> Params:
    return load_params(_PARAMS)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A finished run, its evaluation, and a server that refuses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    Path("params.yaml").write_text(_PARAMS.read_text(encoding="utf-8"), encoding="utf-8")
    write_json(EVALUATION, register.EVALUATION)
    with RunRecord.start("finetune", params={}, inputs=[]) as record:
        record.model_path.write_bytes(b"model")
    record.copy_to(paths.FINETUNED)
    return record


def test_evidence_is_the_fine_tuned_models_numbers():
    found = register.evidence(EVALUATION)
    assert found == {
        "accuracy": 0.93,
        "macro_recall": 0.92,
        "recall/porn": 0.95,
        "recall/neutral": 0.9,
        "pictures": 225.0,
    }


@pytest.mark.parametrize("evaluation", [{}, {"finetuned": None}, {"frozen": {"accuracy": 1.0}}])
def test_an_evaluation_without_it_is_refused(evaluation):
    with pytest.raises(UserError, match="evaluate"):
        register.evidence(evaluation)


def test_the_candidate_is_what_params_say(params):
    asked = register.candidate(params, EVALUATION)
    assert asked.folder == paths.FINETUNED
    assert asked.labels == params.labels.names
    assert (asked.size, asked.rescaling) == (params.backbone.size, "symmetric")


@pytest.mark.parametrize(("said", "done"), [(None, "symmetric"), ("unit", "unit")])
def test_the_rescaling_is_that_of_the_model(params, said, done):
    changed = params.model_copy(update={"backbone": params.backbone.model_copy(update={"rescaling": said})})
    assert register.rescaling(changed) == done


def test_a_dead_server_leaves_it_pending_within_seconds(project, caplog):
    start = time.monotonic()
    register.main()
    assert time.monotonic() - start < 6
    written = json.loads(paths.REGISTERED.read_text(encoding="utf-8"))
    assert written["pending"] is True
    assert (written["model"], written["alias"], written["version"]) == ("nsfw", "challenger", None)
    assert written["record_id"] == project.id
    assert len(written["model_sha256"]) == 64
    assert written["request"]["evidence"]["recall/porn"] == 0.95
    assert [entry.message for entry in caplog.records if "nsfw sync" in entry.message]


@pytest.mark.slow
def test_with_a_store_it_is_registered_and_the_same_again(project, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    register.main()
    first = json.loads(paths.REGISTERED.read_text(encoding="utf-8"))
    assert (first["version"], first["pending"], first["uri"]) == (1, False, "models:/nsfw/1")
    register.main()
    assert json.loads(paths.REGISTERED.read_text(encoding="utf-8")) == first


def test_a_run_that_has_not_finished_is_refused(project):
    document = yaml.safe_load((paths.FINETUNED / "record.json").read_text(encoding="utf-8"))
    write_json(document | {"status": "FAILED"}, paths.FINETUNED / "record.json")
    with pytest.raises(UserError, match="no finished run"):
        register.main()


def test_a_run_without_a_model_is_refused(project):
    (paths.FINETUNED / "model.keras").unlink()
    with pytest.raises(UserError, match="no finished run"):
        register.main()
