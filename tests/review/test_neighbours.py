"""Nearest neighbours by cosine, against a plain computation of all pairs."""

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.review.neighbours import LazyNeighbours, Neighbours, clean_view
from pipeline.training.embeddings import Embeddings


def test_they_are_those_of_all_pairs(rng):
    vectors = rng.normal(size=(80, 7)).astype(np.float32)
    vectors[3] = 0.0
    names = [f"{number:02}" for number in range(80)]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = Neighbours(names, vectors).of([*names, "unknown"], 5)
    for row, name in enumerate(names):
        best = np.argsort(-cosines[row], kind="stable")[:5]
        if row != 3:  # to nothing all are equally near
            assert [one.sha256 for one in nearest[name]] == [names[column] for column in best]
        assert [one.similarity for one in nearest[name]] == pytest.approx(np.sort(cosines[row])[::-1][:5], abs=1e-5)
    assert nearest["unknown"] == []
    assert [one.sha256 for one in Neighbours(["a", "b"], vectors[:2]).of(["a"], 9)["a"]] == ["b"]
    assert Neighbours(["a"], vectors[:1]).of(["a"], 9) == {"a": []}


def test_the_clean_view_alone_is_read_as_the_stage_writes_it(tmp_path, rng):
    for split, pictures in (("train", 4), ("val", 0), ("test", 3)):
        features = rng.normal(size=(3, pictures, 5)).astype(np.float32)
        names = np.array([f"{split}{number}" for number in range(pictures)], dtype="U64")
        Embeddings(features, names, np.zeros(pictures, np.int64)).save(tmp_path / f"{split}.npz")
        sha256, clean = clean_view(tmp_path / f"{split}.npz")
        assert sha256.tolist() == names.tolist()
        assert np.array_equal(clean, features[0])
    assert len(LazyNeighbours(tmp_path).of(["train0"], 10)["train0"]) == 6


def test_a_damaged_file_is_named_and_nothing_has_neighbours(tmp_path):
    (tmp_path / "train.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"train\.npz is not readable"):
        Neighbours.load(tmp_path)
    lazy = LazyNeighbours(tmp_path)
    assert lazy.of(["a"], 3) == {"a": []}
    assert "train.npz" in lazy.problem


def test_without_embeddings_nothing_has_neighbours(tmp_path):
    assert LazyNeighbours(tmp_path / "none").of(["a"], 3) == {"a": []}
