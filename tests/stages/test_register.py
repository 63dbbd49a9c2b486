import json
import time
from pathlib import Path

import pytest
import yaml

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.evaluation import speed
from pipeline.params.root import Params, load_params
from pipeline.promotion.gates import NAMES
from pipeline.registry.model_versions import register as plainly
from pipeline.registry.verification import fetch_model
from pipeline.stages import register
from pipeline.tracking import server
from pipeline.tracking.lineage import digest
from pipeline.tracking.run_record import RunRecord

pytestmark = pytest.mark.untraced

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
    """A finished run, its evaluation, and a server that refuses connections."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    Path("params.yaml").write_text(_PARAMS.read_text(encoding="utf-8"), encoding="utf-8")
    write_json(EVALUATION, register.EVALUATION)
    with RunRecord.start("finetune", params={}, inputs=[]) as record:
        record.model_path.write_bytes(b"model")
    record.copy_to(paths.FINETUNED)
    monkeypatch.setattr(register, "register_with_evidence", lambda candidate, *_: (plainly(candidate), []))
    return record


def test_evidence_is_the_fine_tuned_models_numbers():
    evidence = register.evidence(EVALUATION)
    assert evidence == {
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
    candidate = register.candidate(params, EVALUATION)
    assert candidate.folder == paths.FINETUNED
    assert candidate.labels == params.labels.names
    assert (candidate.size, candidate.rescaling) == (params.backbone.size, "symmetric")


@pytest.mark.parametrize(("rescaling", "done"), [(None, "symmetric"), ("unit", "unit")])
def test_the_rescaling_is_that_of_the_model(params, rescaling, done):
    changed = params.model_copy(update={"backbone": params.backbone.model_copy(update={"rescaling": rescaling})})
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


def test_the_stage_registers_with_evidence_gates_and_card(trained_project, monkeypatch):
    monkeypatch.chdir(trained_project.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    import mlflow

    store = f"sqlite:///{trained_project.root}/mlflow.db"
    client = mlflow.MlflowClient(store)
    version = client.get_model_version("nsfw", "1")
    sha256 = version.tags["nsfw.evidence_sha256"]
    folder = Path(client.download_artifacts(version.run_id, f"evidence/{sha256[:12]}"))
    assert digest(folder) == sha256
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert held >= {"evidence.json", "facts.json", "predictions.parquet", "model_card.md", "model_card.html"}
    evaluated = {path.relative_to(paths.EVIDENCE).as_posix() for path in paths.EVIDENCE.rglob("*") if path.is_file()}
    for name in evaluated:
        assert (folder / name).read_bytes() == (paths.EVIDENCE / name).read_bytes()
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    assert facts["model_sha256"] == digest(paths.FINETUNED / paths.MODEL_FILE) == version.tags["nsfw.model_sha256"]
    assert facts["speed"]["p95_ms"] >= facts["speed"]["p50_ms"] > 0
    document = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    with server.session() as ours:
        _, spec = fetch_model(ours, "nsfw", 1)
    assert spec["decision"] == facts["decision"]
    assert spec["decision"]["threshold"] == document["operating_points"]["unsafe"]["threshold"]
    assert spec["decision"]["temperature"] == document["calibration"]["temperature"]
    formats = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF"]
    assert spec["limits"] == {
        "max_pixels": 50_000_000,
        "min_side": 32,
        "max_aspect": 10.0,
        "formats": formats,
        "max_frames": 12,
    }
    assert version.tags["nsfw.gates"].split(":")[0] in {"failed", "none failed"}
    card = (folder / "model_card.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert name.replace("_", "\\_") in card
        assert "| " + name.replace("_", "\\_") + " | " in version.description


def test_what_is_registered_keeps_its_facts_and_loads_no_network_again(project_copy, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def now() -> tuple[str, dict[str, str]]:
        register.main()
        number = str(json.loads(paths.REGISTERED.read_text(encoding="utf-8"))["version"])
        with server.session() as client:
            return number, client.get_model_version("nsfw", number).tags

    before = now()
    monkeypatch.setattr(speed, "measure", lambda *_: pytest.fail("its speed is measured again"))
    assert now() == before


def test_evidence_about_another_model_is_refused(project_copy):
    document = json.loads((paths.EVIDENCE / "evidence.json").read_text(encoding="utf-8"))
    write_json(document | {"model_sha256": "0" * 64}, paths.EVIDENCE / "evidence.json")
    with pytest.raises(UserError, match="is about model 000000000000"):
        register.main()
