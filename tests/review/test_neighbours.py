"""Nearest neighbours by cosine, against a plain computation of all pairs."""

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.review.neighbours import LazyNeighbours, Neighbours
from tests.support import embeddings


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


def test_the_clean_views_of_all_splits_are_read(tmp_path, rng):
    written = {}
    for split, pictures in (("train", 4), ("val", 0), ("test", 3)):
        features = rng.normal(size=(3, pictures, 5)).astype(np.float16).astype(np.float32)
        names = [f"{split}{number}" for number in range(pictures)]
        embeddings.write(tmp_path / split, features, names, [0] * pictures)
        written |= dict(zip(names, features[0], strict=True))
    nearest = LazyNeighbours(tmp_path).of(["train0"], 10)["train0"]
    plain = Neighbours(list(written), np.stack(list(written.values()))).of(["train0"], 10)["train0"]
    assert nearest == plain
    assert len(nearest) == 6


def test_a_damaged_file_is_named_and_nothing_has_neighbours(tmp_path, rng):
    embeddings.write(tmp_path / "train", rng.normal(size=(1, 3, 5)), ["a", "b", "c"], [0, 0, 0])
    (tmp_path / "train/features-00000.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"features-00000\.npy is not readable"):
        Neighbours.load(tmp_path)
    lazy = LazyNeighbours(tmp_path)
    assert lazy.of(["a"], 3) == {"a": []}
    assert "features-00000.npy" in lazy.problem


def test_without_embeddings_nothing_has_neighbours(tmp_path):
    assert LazyNeighbours(tmp_path / "none").of(["a"], 3) == {"a": []}
