import dataclasses
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from pipeline.core import paths
from pipeline.core.files import write_json
from pipeline.registry import model_versions
from pipeline.registry.model_versions import register
from pipeline.registry.sync import sync
from pipeline.stages.register import document
from pipeline.tracking import main_project
from tests.support.registered_models import LABELS, made, model_bytes
from tests.support.tracking_helpers import runs

pytestmark = pytest.mark.untraced

__all__ = ["model_bytes"]  # a fixture


def versions(client) -> list:
    return sorted(client.search_model_versions("name = 'nsfw'"), key=lambda version: int(version.version))


def test_a_version_with_alias_evidence_and_lineage(client):
    done = register(made())
    assert (done.version, done.pending, done.uri, done.problem) == (1, False, "models:/nsfw/1", "")
    version = client.get_model_version_by_alias("nsfw", "challenger")
    assert version.version == "1" or version.version == 1
    (run,) = runs(client)
    assert version.run_id == run.info.run_id
    assert run.info.status == "FINISHED"
    assert version.tags["nsfw.record_id"] == run.data.tags["nsfw.record_id"]
    assert version.tags["nsfw.model_sha256"] == done.model_sha256
    assert version.tags["nsfw.test_macro_recall"] == "0.9123"
    assert len(version.tags) <= 12  # MLflow's list of versions has a line for each
    for words in ("- classes: drawings, neutral, porn", "- input: ", "| recall/porn | 0.95 |"):
        assert words in version.description
    assert "production" in client.get_registered_model("nsfw").description
    assert run.data.metrics["test_recall/porn"] == 0.95
    assert run.outputs.model_outputs[0].model_id


def test_the_same_model_twice_is_one_version_and_its_alias_is_set_again(client):
    candidate = made()
    register(candidate)
    client.delete_registered_model_alias("nsfw", "challenger")
    assert register(candidate).version == 1
    assert len(versions(client)) == 1
    assert client.get_registered_model("nsfw").aliases == {"challenger": 1} or client.get_registered_model(
        "nsfw"
    ).aliases == {"challenger": "1"}


def test_the_same_model_at_another_operating_point_is_another_version(client):
    candidate = made()
    decision = {"labels": list(LABELS), "unsafe": ["porn"], "temperature": 1.1, "threshold": 0.4}

    def with_decision(**change):
        return dataclasses.replace(candidate, decision=decision | change)

    assert register(candidate).version == 1
    assert register(with_decision()).version == 2  # version 1 was made before anybody knew
    assert register(with_decision(threshold=0.4 + 1e-9)).version == 2
    assert register(with_decision(threshold=0.3)).version == 3
    assert register(with_decision(threshold=None)).version == 4
    assert register(with_decision()).version == 2
    assert register(candidate).version == 1
    assert [
        model_versions.find_version(client, one) for one in (candidate, with_decision(), with_decision(threshold=0.2))
    ] == [1, 2, None]
    version = versions(client)[2]
    assert (version.tags["nsfw.temperature"], version.tags["nsfw.threshold"]) == ("1.1", "0.3")
    folder = mlflow.artifacts.download_artifacts(version.source)
    held = json.loads((Path(folder) / "artifacts" / "model.json").read_text(encoding="utf-8"))
    assert held["decision"] == decision | {"threshold": 0.3}


def test_another_model_is_another_version(client):
    register(made())
    assert register(made(b"another")).version == 2
    assert int(client.get_model_version_by_alias("nsfw", "challenger").version) == 2


@pytest.mark.parametrize("step", ["_create_version", "_log_figures"])
def test_a_registration_cut_short_goes_on_with_the_model_that_is_there(client, monkeypatch, step):
    candidate = made()

    def cut(*_):
        raise ConnectionError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(model_versions, step, cut)
        done = register(candidate)
    assert (done.pending, done.version, done.problem) == (True, None, "MLflow refused: cut")
    assert register(candidate).version == 1
    (run,) = runs(client)
    assert len(client.search_logged_models([run.info.experiment_id])) == 1


def test_one_killed_before_the_alias_is_completed(client, monkeypatch):
    candidate = made()
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.set_registered_model_alias", None)
        assert register(candidate).pending
    assert register(candidate).version == 1
    assert len(versions(client)) == 1
    assert int(client.get_model_version_by_alias("nsfw", "challenger").version) == 1


def test_only_forward_leaves_a_later_version_its_alias(client):
    old = made()
    register(old)
    earlier = dataclasses.replace(old, folder=paths.HEAD)
    paths.FINETUNED.rename(paths.HEAD)
    register(made(b"later"))
    assert register(earlier, only_forward=True).version == 1
    assert int(client.get_model_version_by_alias("nsfw", "challenger").version) == 2
    assert register(earlier).version == 1
    assert int(client.get_model_version_by_alias("nsfw", "challenger").version) == 1


def test_a_pending_registration_is_completed_by_sync_from_build_alone(client, monkeypatch):
    candidate = made()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    start = time.monotonic()
    done = register(candidate)
    assert time.monotonic() - start < 5
    assert (done.pending, done.version, done.uri) == (True, None, "models:/nsfw@challenger")
    write_json(document(candidate, done), paths.REGISTERED)
    before = paths.REGISTERED.read_bytes()
    assert sync().registration.pending
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    report = sync()
    assert (report.problems, report.registration.version) == ([], 1)
    assert client.get_model_version("nsfw", "1").tags["nsfw.test_macro_recall"] == "0.9123"
    assert sync().registration.version == 1
    assert len(versions(client)) == 1
    assert paths.REGISTERED.read_bytes() == before  # a stage's output: DVC would take a change for damage


def test_a_temporary_experiment_publishes_its_run_and_registers_nothing(client, monkeypatch):
    candidate = made()
    monkeypatch.setattr(main_project, "is_temporary", lambda: True)
    done = register(candidate)
    assert (done.pending, done.version) == (True, None)
    assert "dvc exp apply" in done.problem
    assert len(runs(client)) == 1
    assert client.search_registered_models() == []
    write_json(document(candidate, done), paths.REGISTERED)
    monkeypatch.setattr(main_project, "is_temporary", lambda: False)  # applied
    assert sync().registration.version == 1


def test_sync_leaves_a_registration_of_a_model_that_is_gone(client):
    candidate = made()
    write_json(document(candidate, register(candidate)), paths.REGISTERED)
    candidate.model_file.unlink()
    candidate.model_file.write_bytes(b"retrained")
    assert sync().registration is None


def test_a_name_that_is_no_name_is_a_problem_not_an_exception(client):
    done = register(dataclasses.replace(made(), name="a/b"))
    assert done.pending
    assert "a/b" in done.problem


@pytest.mark.slow
def test_it_loads_in_a_clean_process_elsewhere(client, store, model_bytes, tmp_path):
    register(made(model_bytes))
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 60, 3), np.uint8)).save(picture, "PNG")
    (tmp_path / "picture.png").write_bytes(picture.getvalue())
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "pipeline").mkdir(parents=True)  # someone else's package of the same name
    (elsewhere / "pipeline" / "__init__.py").write_text("")
    code = """if True:
        import json, sys, mlflow, pandas as pd, pathlib
        model = mlflow.pyfunc.load_model("models:/nsfw@challenger")
        data = pathlib.Path("../picture.png").read_bytes()
        answer = model.predict(pd.DataFrame({"image": [data, b"rubbish"]}))
        print(json.dumps({"columns": list(answer.columns), "sum": float(answer.iloc[0, :3].sum())}))
        print(json.dumps([str(answer["error"][0]), str(answer["error"][1]), bool(answer.iloc[1, :3].isna().all())]))
        print(json.dumps([model.metadata.get_input_schema().to_dict(), model.metadata.get_output_schema().to_dict()]))
        import pipeline; print(json.dumps(pipeline.__file__))
    """
    environment = {"PATH": "/usr/bin:/bin", "MLFLOW_TRACKING_URI": f"sqlite:///{store}", "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    answer, errors, (inputs, outputs), package = map(json.loads, result.stdout.splitlines()[-4:])
    assert answer["columns"] == [
        *LABELS,
        "unsafe",
        "threshold",
        "decision",
        "frames",
        "frames_scored",
        "deciding_frame",
        "error",
    ]
    assert answer["sum"] == pytest.approx(1.0, abs=1e-5)
    assert (errors[0], errors[2]) == ("", True)
    assert errors[1].startswith("not_a_picture")
    assert [(entry["name"], entry["type"]) for entry in inputs] == [("image", "binary")]
    assert [entry["type"] for entry in outputs] == ["double"] * 5 + ["string"] + ["long"] * 3 + ["string"]
    assert "mlartifacts" in package
