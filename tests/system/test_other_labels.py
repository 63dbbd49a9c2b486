"""A project of five classes and models of other labels: promoted, served, challenged and compared, by its commands."""

import io
import json
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from sklearn.linear_model import LogisticRegression

from pipeline.cli import console
from pipeline.evidence import scoring
from pipeline.params.root import load_params
from pipeline.tracking import server
from tests.support.foreign_models import SIZE, save_grid
from tests.support.served import ready, served
from tests.support.system_helpers import Project

pytestmark = pytest.mark.slow

CLASSES = ("drawings", "hentai", "neutral", "porn", "sexy")
UNSAFE = ("hentai", "porn", "sexy")
WANTED = ("class_recall", "drop_unsafe_recall", "drop_macro_recall", "drop_class_recall")


def grid(pixels: np.ndarray, cells: int) -> np.ndarray:
    """What save_grid's models see of (n, SIZE, SIZE, 3) pixels 0..1: the mean of each cell, (n, 3 * cells * cells)."""
    side = SIZE // cells
    means = pixels.reshape(-1, cells, side, cells, side, 3).mean(axis=(2, 4))
    return means.transpose(0, 3, 1, 2).reshape(len(pixels), -1)


def fitted(folder: Path, name: str, scrape: tuple[np.ndarray, np.ndarray], labels: np.ndarray, cells: int) -> Path:
    """A logistic regression on the means of cells x cells, as ONNX; its outputs in the order of sorted labels."""
    model = LogisticRegression(C=1000.0, max_iter=4000).fit(grid(scrape[0], cells), labels)
    weights, bias = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:
        weights, bias = np.concatenate([np.zeros_like(weights), weights], axis=1), np.array([0.0, bias[0]])
    return save_grid(folder, cells, weights, bias, name)


class InProcess(Project):
    """A project whose commands run in this process: TensorFlow and MLflow are imported once."""

    def nsfw(self, *arguments: str, check: bool = True, **_) -> subprocess.CompletedProcess[str]:
        """Run `nsfw` as its console script does."""
        out, errors, code = io.StringIO(), io.StringIO(), 0
        with (
            chdir(self.root),
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(out),
            redirect_stderr(errors),
        ):
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            patch.setattr("sys.argv", ["nsfw", *arguments])
            try:
                console.main()
            except SystemExit as exited:
                code = int(exited.code or 0)
        done = subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())
        assert not check or code == 0, f"{arguments}: {done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done


@pytest.fixture(scope="module")
def project(whole_run, tmp_path_factory) -> InProcess:
    """A copy of the whole run with a registry of its own, in which the model that was trained there is version 1."""
    whole, _ = whole_run
    root = tmp_path_factory.mktemp("other-labels") / "project"
    shutil.copytree(whole.root, root, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    copy = InProcess(root)
    document = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    # A few dozen test pictures and models of a few means: what is looked at is which gates judge, not how strict.
    loose = {"class_recall": 0.1, "unsafe_recall": 0.3, "slice_gap": None, "calibration": 0.5, "robustness": None}
    copy.change("register", gates=document["register"]["gates"] | loose)
    synced = json.loads(copy.nsfw("sync", "--json").stdout)
    assert synced, "nothing was registered"
    return copy


@pytest.fixture(scope="module")
def scrape(project) -> tuple[np.ndarray, np.ndarray]:
    """Small pixels 0..1 and labels of all the project's pictures: models from elsewhere have learned from them, too."""
    pixels, labels = [], []
    with chdir(project.root):
        for split in ("train", "val", "test"):
            rows, chunks = scoring.pictures_of(split, SIZE, load_params(), 10_000)
            pixels += [chunk / 255 for chunk in chunks]
            labels += rows["label"].tolist()
    return np.concatenate(pixels), np.array(labels)


def imported(project: InProcess, path: Path, *options: str) -> int:
    """Import a model of 0..1 pixels; return its version."""
    return json.loads(project.nsfw("import-model", str(path), "--rescaling", "unit", *options, "--json").stdout)[
        "version"
    ]


def gate_table(project: InProcess, version: int) -> dict[str, dict]:
    return {
        row["gate"]: row
        for row in json.loads(project.nsfw("gates", str(version), "--json", check=False).stdout)["gates"]
    }


def compared(project: InProcess, before: int | str, after: int) -> dict:
    report = json.loads(project.nsfw("compare", str(before), str(after), "--json").stdout)
    return report | {"figures": [row["figure"] for row in report["recall"]]}


def tags(project: InProcess, version: int) -> dict[str, str]:
    with chdir(project.root), server.session() as client:
        return dict(client.get_model_version("nsfw", str(version)).tags)


@pytest.fixture(scope="module")
def binary(project, scrape, tmp_path_factory) -> int:
    """A model of two outputs that sees the mean colour alone, in production."""
    sides = np.where(np.isin(scrape[1], UNSAFE), "unsafe", "safe")
    path = fitted(tmp_path_factory.mktemp("binary"), "binary.onnx", scrape, sides, 1)
    version = imported(project, path, "--labels", "safe,unsafe", "--unsafe", "unsafe")
    table = gate_table(project, version)
    assert table["class_recall"]["status"] == "n/a"
    assert table["class_recall"]["unjudged"].startswith("its labels are safe, unsafe: none is a class of the pictures")
    assert [row["gate"] for row in table.values() if row["status"] == "fail"] == []
    judged = ("unsafe_recall", "calibration", "latency_ms", "size_mb", "leaks")
    assert {table[name]["status"] for name in judged} == {"pass"}
    assert "not judged: class_recall" in tags(project, version)["nsfw.gates"]
    done = project.nsfw("promote", str(version), "--reason", "what runs today")
    assert "gates: none failed; not judged: class_recall (its labels are safe, unsafe" in done.stdout
    return version


def test_a_binary_model_in_production_answers_its_own_labels_behind_every_door(project, binary, tmp_path, monkeypatch):
    assert f"version {binary} of nsfw is loaded: safe, unsafe" in project.nsfw("verify").stdout
    picture = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), (40, 90, 200), np.uint8)).save(picture, "PNG")
    (tmp_path / "a.png").write_bytes(picture.getvalue())
    project.nsfw("score", str(tmp_path / "a.png"), "--out", str(tmp_path / "scores.parquet"))
    (row,) = pd.read_parquet(tmp_path / "scores.parquet").to_dict("records")
    assert [name for name in row if name.startswith("p_")] == ["p_safe", "p_unsafe"]
    assert row["unsafe"] == row["p_unsafe"]
    assert row["decision"] == ("unsafe" if row["unsafe"] >= row["threshold"] else "safe")
    monkeypatch.chdir(project.root)
    with served(tmp_path) as service:
        ready(service)
        answer = service.post(picture.getvalue()).json()
    (result,) = answer["pictures"]
    assert answer["model"]["version"] == str(binary)
    assert list(result["probabilities"]) == ["safe", "unsafe"]
    assert result["probabilities"]["unsafe"] == pytest.approx(row["p_unsafe"], abs=1e-5)
    assert (result["unsafe"], result["decision"]) == (pytest.approx(row["unsafe"], abs=1e-5), row["decision"])


def test_the_model_trained_here_is_compared_with_it_as_unsafe_or_safe(project, binary):
    report = compared(project, "production", 1)
    assert report["figures"] == ["unsafe recall"]
    assert report["uncompared"].startswith(f"no class of the pictures is a label of both: version {binary} has")
    others = {row["figure"]: (row["before"], row["after"]) for row in report["other"]}
    for figure in ("threshold", "flagged, of unsafe", "flagged, of safe", "calibration, unsafe"):
        assert None not in others[figure], figure
    table = gate_table(project, 1)
    assert table["drop_unsafe_recall"]["status"] in {"pass", "fail"}
    assert table["drop_class_recall"]["status"] == table["drop_macro_recall"]["status"] == "n/a"


@pytest.fixture(scope="module")
def better(project, binary, scrape, tmp_path_factory) -> int:
    """A model of the five classes that sees 64 cells: it replaces the binary one through the gates."""
    path = fitted(tmp_path_factory.mktemp("five"), "five.onnx", scrape, scrape[1], 8)
    version = imported(project, path)
    table = gate_table(project, version)
    assert {name: table[name]["status"] for name in WANTED} == {
        "class_recall": "pass",
        "drop_unsafe_recall": "pass",
        "drop_macro_recall": "n/a",
        "drop_class_recall": "n/a",
    }
    assert f"version {binary} has the labels safe, unsafe" in table["drop_class_recall"]["reason"]
    outcome = json.loads(project.nsfw("promote", str(version), "--reason", "tells classes", "--json").stdout)
    assert (outcome["done"], outcome["previous"], outcome["overrides"]) == (True, binary, [])
    assert "not judged: drop_macro_recall, drop_class_recall" in project.nsfw("history").stdout
    return version


def test_the_other_way_round_it_is_refused_by_what_both_answer(project, binary, better):
    refused = project.nsfw("promote", str(binary), "--reason", "back", check=False)
    assert refused.returncode == 1
    assert "refused: drop_unsafe_recall. " in refused.stdout
    table = gate_table(project, binary)
    assert {name: table[name]["status"] for name in WANTED} == dict.fromkeys(WANTED, "n/a") | {
        "drop_unsafe_recall": "fail"
    }
    loose = yaml.safe_load((project.root / "params.yaml").read_text(encoding="utf-8"))["register"]["gates"]
    project.change("register", gates=loose | {"drop": loose["drop"] | {"unsafe_recall": 1.0}})
    try:
        outcome = json.loads(project.nsfw("gates", str(binary), "--json", check=False).stdout)
    finally:
        project.change("register", gates=loose)
    assert outcome["failed"] == []  # what else can be judged of it would let it through


def names_of(labels: Sequence[str]) -> str:
    return ",".join(labels)


def test_a_sixth_class_is_compared_on_the_five(project, better, scrape, tmp_path):
    """Every third drawing is a meme for it."""
    labels = scrape[1].copy()
    labels[np.flatnonzero(labels == "drawings")[::3]] = "memes"
    path = fitted(tmp_path, "six.onnx", scrape, labels, 8)
    names = sorted({*CLASSES, "memes"})
    version = imported(project, path, "--labels", names_of(names), "--unsafe", names_of(UNSAFE))
    report = compared(project, better, version)
    assert "uncompared" not in report
    assert report["figures"][:2] == ["unsafe recall", "macro recall"]
    recall = {row["figure"]: row for row in report["recall"]}
    assert set(recall) == {"unsafe recall", "macro recall", *(f"recall {name}" for name in CLASSES)}
    assert recall["recall drawings"]["after"] < recall["recall drawings"]["before"]
    table = gate_table(project, version)
    assert all(not row.get("unjudged") for row in table.values())


@pytest.mark.rare  # tests/evidence/test_collecting.py has it without a project
def test_a_renamed_class_is_compared_on_the_others(project, better, scrape, tmp_path):
    labels = np.where(scrape[1] == "sexy", "racy", scrape[1])
    path = fitted(tmp_path, "renamed.onnx", scrape, labels, 8)
    names = ["drawings", "hentai", "neutral", "porn", "racy"]
    version = imported(project, path, "--labels", names_of(names), "--unsafe", "hentai,porn,racy")
    report = compared(project, better, version)
    assert report["figures"] == ["unsafe recall", "macro recall", *(f"recall {name}" for name in names[:-1])]
    assert report["uncompared"] == f"not compared by class: version {version} has no label sexy"
    assert {row["change"] for row in report["recall"]} == {0.0}  # the same model under another name
    table = gate_table(project, version)
    assert table["class_recall"]["reason"].endswith("; it has no label sexy")
    assert table["drop_class_recall"]["status"] == "pass"
    assert f"not compared by class: version {version} has no label sexy" in table["drop_class_recall"]["reason"]


@pytest.mark.rare  # tests/model_import/test_importing.py has it without a project
def test_a_sigmoid_of_one_output_is_the_binary_model_again(project, binary, scrape, tmp_path):
    sides = np.where(np.isin(scrape[1], UNSAFE), 1, 0)
    model = LogisticRegression(C=1000.0, max_iter=4000).fit(grid(scrape[0], 1), sides)
    path = save_grid(tmp_path, 1, model.coef_.T, model.intercept_, "sigmoid.onnx", "Sigmoid")
    version = imported(project, path, "--labels", "safe,unsafe", "--unsafe", "unsafe")
    report = compared(project, binary, version)
    assert (report["moved"], report["recall"][0]["change"]) == ([], 0.0)
