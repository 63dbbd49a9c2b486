"""The whole command, in a project in which every stage has run."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.evidence import scoring
from pipeline.exporting import export as exporting
from pipeline.exporting import formats
from pipeline.exporting.export import Export, Job
from pipeline.params.root import Params, load_params
from pipeline.registry.loading import open_model
from tests.support.conversions import conversions, convert_once

__all__ = ["conversions", "convert_once"]  # fixtures

pytestmark = [pytest.mark.usefixtures("conversions"), pytest.mark.untraced]


def export(params: Params, job: Job, reference: str = "challenger") -> Export:
    return exporting.export(open_model(params, reference), params, job)


# Of probabilities. The tiny trained model multiplies float32's errors: TensorFlow itself is off by 3.3e-5 from the same
# network in float64.
ROUNDING = 1e-4


@pytest.fixture
def limited(in_project):
    """The project's params with other limits."""

    def make(**limits):
        params = load_params()
        return params.model_copy(update={"export": params.export.model_copy(update=limits)})

    return make


def test_the_folder_holds_the_model_and_all_that_its_users_need(in_project, nsfw, tmp_path):
    out = tmp_path / "deep" / "export"
    code, output, _ = nsfw(
        "export", "--format", "litert", "--model", "models:/nsfw@challenger", "--out", str(out), "--json"
    )
    assert code == 0
    document = json.loads(output)
    assert (document["folder"], document["failures"]) == (str(out), [])
    assert sorted(path.name for path in out.parent.iterdir()) == ["export"]
    assert sorted(path.name for path in out.iterdir()) == [
        "classify.py", "export.json", "model.tflite", "requirements.txt",
    ]  # fmt: skip
    sidecar = json.loads((out / "export.json").read_text(encoding="utf-8"))
    assert sidecar == {key: value for key, value in document.items() if key not in {"folder", "failures"}}
    registered = json.loads(paths.REGISTERED.read_text(encoding="utf-8"))
    assert (sidecar["model"], sidecar["version"], sidecar["model_sha256"]) == ("nsfw", 1, registered["model_sha256"])
    assert sidecar["bytes"] == (out / "model.tflite").stat().st_size
    params = load_params()
    assert sidecar["parity"]["pictures"] == 24 == len(scoring.pictures_of("test", 32, params, 999)[0])
    assert sidecar["parity"]["max_difference"] < ROUNDING
    assert sidecar["parity"]["flips"] == {"label": 0, "decision": 0}
    assert 0 <= sidecar["threshold"] <= 1


def test_the_parity_is_with_the_numbers_that_serve(limited, tmp_path, monkeypatch):
    """The calibrated probabilities of the evidence, not those of the same graph run twice."""
    from pipeline.core import tables
    from pipeline.serving.decision import Decision

    version = open_model(limited(), "challenger")
    warmer = replace(version.decision, temperature=1.7)  # whatever the calibration of the tiny model is
    monkeypatch.setattr(type(version), "decision", warmer)
    done = exporting.export(version, limited(), Job("litert", out=tmp_path / "x"))
    answers = tables.read_parquet(paths.EVIDENCE / "predictions.parquet")
    test = answers[answers["split"] == "test"].sort_values("sha256")
    labels = tuple(done.sidecar["labels"])
    raw = test[[f"p_{name}" for name in labels]].to_numpy()
    _, chunks = scoring.pictures_of("test", 32, limited(), 999)
    run = formats.load("litert", tmp_path / "x" / "model.tflite")
    answers = np.concatenate([run(chunk.astype(np.float32)) for chunk in chunks])
    wanted = Decision(labels, (), done.sidecar["temperature"]).probabilities(raw)
    np.testing.assert_allclose(answers, wanted, atol=ROUNDING)
    assert done.sidecar["temperature"] == 1.7


def test_past_the_limit_nothing_is_written_and_exit_is_1(nsfw, limited, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.params.root.load_params", lambda: limited(max_difference=1e-12))
    code, output, _ = nsfw("export", "--format", "litert", "--model", "1", "--out", str(tmp_path / "x"))
    assert code == 1
    assert "REFUSED: a probability differs by" in output
    assert output.splitlines()[-1] == "nothing was written"
    assert list(tmp_path.iterdir()) == []


def test_a_quantized_one_is_judged_by_what_it_costs(limited, monkeypatch, tmp_path):
    job = Job("litert", "dynamic", tmp_path / "x")
    done = export(limited(flips=1.0, unsafe_recall=1.0, class_recall=1.0), job)
    assert (tmp_path / "x").is_dir()
    assert done.sidecar["parity"]["max_difference"] > 1e-5
    before, after = np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[0, 1, 1, 2]]
    classes = pd.Series(done.sidecar["labels"]).iloc[[0, 1, 2, 2]]
    monkeypatch.setattr(exporting, "_compare", lambda *_: (before, after, classes))
    refused = export(limited(), Job("litert", "dynamic", tmp_path / "y"))
    assert refused.folder is None
    assert "recall of porn falls from 100.00% to 50.00%, limit 4.00%" in refused.failures
    assert not (tmp_path / "y").exists()


def test_a_broken_conversion_is_found(limited, monkeypatch, tmp_path):
    real = formats.load
    monkeypatch.setattr(formats, "load", lambda *arguments: lambda pixels: real(*arguments)(pixels[:, :, ::-1] * 0.9))
    refused = export(limited(), Job("litert", out=tmp_path / "x"))
    assert refused.folder is None
    monkeypatch.setattr(formats, "load", lambda *arguments: lambda pixels: real(*arguments)(pixels) * np.nan)
    with pytest.raises(UserError, match="no probabilities"):
        export(limited(), Job("litert", out=tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(limited, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("full", "file", "link"):
        with pytest.raises(UserError, match=rf"{name} exists already"):
            export(limited(), Job("litert", out=tmp_path / name))
    assert (tmp_path / "full" / "mine").exists()


def test_a_folder_of_a_version_is_exported_too(in_project, nsfw, tmp_path):
    (folder,) = Path("mlartifacts").glob("models/*/artifacts")
    code, output, _ = nsfw(
        "export", "--format", "litert", "--model", str(folder), "--out", str(tmp_path / "x"), "--json"
    )
    assert (code, json.loads(output)["version"]) == (0, None)


def test_no_such_version(in_project, nsfw, tmp_path):
    for reference, why in (
        ("9", "no version 9"),
        ("production", "in production"),
        ("models:/other/1", "another registered"),
    ):
        code, _, output = nsfw("export", "--format", "litert", "--model", reference, "--out", str(tmp_path / "x"))
        assert (code, why in output) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(limited, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "_compare", stop)
    with pytest.raises(KeyboardInterrupt):
        export(limited(), Job("litert", out=tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_swept_and_what_a_living_one_has_is_not(limited, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, others = tmp_path / f".x.{dead.pid}.tmp", tmp_path / f".x.{os.getppid()}.tmp"
    left.mkdir()
    others.mkdir()
    (left / "model.tflite").touch()
    export(limited(), Job("litert", out=tmp_path / "x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [others.name, "x"]


def test_usage(in_project, nsfw):
    assert nsfw("export", "--format", "pickle", "--model", "1")[0] == 2
    code, _, output = nsfw("export", "--format", "savedmodel", "--quantize", "dynamic")
    assert code == 1
    assert "a SavedModel is not quantized" in output


def test_the_default_folder_names_the_version(limited, monkeypatch, tmp_path):
    monkeypatch.setattr(exporting, "DEFAULT", tmp_path / "exported")
    done = export(limited(flips=1.0, unsafe_recall=1.0, class_recall=1.0), Job("litert", "float16"))
    assert done.folder == tmp_path / "exported" / "nsfw-1-litert-float16"


def test_pictures_are_the_first_of_test_by_sha256(in_project):
    rows, chunks = scoring.pictures_of("test", 32, load_params(), 5)
    everything, _ = scoring.pictures_of("test", 32, load_params(), 999)
    assert rows.equals(everything.head(5))
    assert rows["sha256"].is_monotonic_increasing
    assert np.concatenate(list(chunks)).shape == (5, 32, 32, 3)
    assert Path.cwd() == in_project.root
