"""`nsfw score` and `nsfw measure` have their pictures read on a Dask cluster, and give what one machine gives."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.batch_scoring import parts, scoring
from pipeline.batch_scoring.scoring import Job
from pipeline.core import executor, paths
from pipeline.images import sandbox_chunks
from pipeline.params.root import load_params
from pipeline.promotion.measured_pictures import worst_frame_answers
from pipeline.registry.loading import open_model
from tests.support.dask_cluster import DaskCluster, Killer
from tests.support.pictures import jpeg
from tests.support.scored_model import DECISION, LABELS, save_model

pytestmark = pytest.mark.slow


@pytest.fixture
def model_folder(project) -> Path:
    """A version in the project's folder, whose labels params.yaml names."""
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["labels"] = {"names": list(LABELS), "unsafe": ["porn"]}
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return save_model(project / "version")


@pytest.fixture
def pictures(project, rng) -> list[str]:
    """Absolute paths of forty files, some of which are no pictures; twelve of them are in a compressed archive too."""
    folder = project / "in/porn"
    folder.mkdir(parents=True)
    for number in range(40):
        (folder / f"{number:02}.jpg").write_bytes(b"rubbish" if number % 9 == 4 else jpeg(rng))
    with tarfile.open("more.tar.gz", "w:gz") as archive:
        for number in range(12):
            archive.add(folder / f"{number:02}.jpg", f"{number}.jpg")
    return sorted(map(str, folder.iterdir()))


@pytest.fixture
def killer(project, tmp_path, monkeypatch):
    """Begins to use a cluster of two workers; returns who kills one of them in its first chunk."""
    monkeypatch.setattr(sandbox_chunks, "_CHUNK", 4)

    def begin() -> Killer:
        monkeypatch.setenv(executor.SCHEDULER, dask.address)
        return Killer(dask.address, ["run_chunk"])

    with DaskCluster(project, tmp_path / "logs") as dask:
        dask.add_workers(2)
        yield begin


def test_scores_are_the_same_though_a_worker_is_killed(model_folder, pictures, killer, monkeypatch):
    monkeypatch.setattr(parts, "SIZE", 15)
    model = open_model(load_params(), str(model_folder))

    def score(out: str) -> bytes:
        inputs = tuple(map(os.fsencode, ("in", "more.tar.gz")))
        scoring.score(model, load_params(), Job(inputs, Path(out)))
        return Path(out).read_bytes()

    here = score("here.parquet")
    with killer() as killing:
        assert score("there.parquet") == here
    assert killing.killed == {"run_chunk"}


def test_measured_answers_are_the_same_though_a_worker_is_killed(model_folder, pictures, killer):
    def network(squares: np.ndarray) -> np.ndarray:
        means = squares.mean(axis=(1, 2)) / 255
        return means / means.sum(axis=1, keepdims=True)

    def measure() -> tuple[np.ndarray, list[str], dict[str, int]]:
        return worst_frame_answers(network, DECISION, [("porn", path) for path in pictures], 32, load_params())

    answers, labels, unreadable = measure()
    assert (len(labels), unreadable) == (36, {"not_a_picture": 4})
    with killer() as killing:
        again = measure()
    assert killing.killed == {"run_chunk"}
    np.testing.assert_array_equal(again[0], answers)
    assert again[1:] == (labels, unreadable)


def test_a_cluster_that_is_named_and_does_not_answer_is_one_message(model_folder, pictures, monkeypatch, nsfw):
    monkeypatch.setenv(executor.SCHEDULER, "")  # as it was, afterwards
    Path(".dvc").mkdir()
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["compute"]["scheduler"] = "tcp://127.0.0.1:9"
    paths.PARAMS.write_text(yaml.safe_dump(document), encoding="utf-8")
    code, _, errors = nsfw("score", "in", "--out", "out.parquet", "--model", model_folder)
    assert code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in errors
    assert "Traceback" not in errors
    assert not Path("out.parquet").exists()
