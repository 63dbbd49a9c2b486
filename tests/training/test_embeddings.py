"""A split's features on disk: in files of a bounded size, read by rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.training import feature_shards
from pipeline.training.embeddings import Embeddings
from pipeline.training.feature_shards import FeatureShards, FeatureWriter, to_half
from tests.support import embeddings

NAMES = [f"{k:064x}" for k in range(30)]
VECTORS = np.random.default_rng(0).normal(size=(2, 30, 64)).astype(np.float16).astype(np.float32)
LABELS = (np.arange(30) % 3).tolist()


@pytest.fixture
def folder(tmp_path):
    embeddings.write(tmp_path / "train", VECTORS, NAMES, LABELS)
    return tmp_path / "train"


def test_they_come_back_as_they_were(folder):
    loaded = Embeddings.load(folder)
    assert (len(loaded), loaded.views, loaded.width) == (30, 2, 64)
    assert loaded.sha256.tolist() == NAMES
    assert loaded.label.tolist() == LABELS
    read = embeddings.read(loaded)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, VECTORS)


def test_equal_vectors_give_equal_bytes_in_any_order_of_writing(folder, tmp_path):
    writer = FeatureWriter(tmp_path / "again", VECTORS.shape)
    for view in (1, 0):
        for rows in (np.arange(29, 14, -1), np.arange(15)):
            writer.put(rows, view, to_half(VECTORS[view, rows]))
    writer.finish()
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(0, 40), st.integers(1, 9))
def test_any_rows_of_any_views_of_any_files(tmp_path_factory, data, views, count, per_file):
    """Files of a few rows, written in an order of its own, and read with repetitions."""
    folder = tmp_path_factory.mktemp("vectors")
    vectors = np.arange(views * count * 2, dtype=np.float32).reshape(views, count, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_shards, "_FILE_BYTES", per_file * views * 4)
        writer = FeatureWriter(folder, vectors.shape)
    pairs = [(row, view) for row in range(count) for view in range(views)]
    order = data.draw(st.permutations(pairs))
    rows, each = (np.array([pair[index] for pair in order], int) for index in (0, 1))
    writer.put(rows, each, to_half(vectors[each, rows]))
    writer.finish()
    assert len(list(folder.glob("*.npy"))) == max(1, -(-count // per_file))
    wanted = data.draw(st.lists(st.sampled_from(pairs), max_size=50)) if pairs else []
    rows, each = (np.array([pair[index] for pair in wanted], int) for index in (0, 1))
    np.testing.assert_array_equal(FeatureShards(folder).take(rows, each), vectors[each, rows])


def test_some_of_several_splits(folder, tmp_path):
    embeddings.write(tmp_path / "val", VECTORS[:, :5] + 1, [f"v{k}" for k in range(5)], [2] * 5)
    joined = Embeddings.join([Embeddings.load(folder), Embeddings.load(tmp_path / "val")])
    whole = np.concatenate([VECTORS, to_half(VECTORS[:, :5] + 1)], axis=1)
    np.testing.assert_array_equal(embeddings.read(joined), whole)
    some = joined.select(np.array([33, 2, 29, 30]))
    assert some.sha256.tolist() == ["v3", NAMES[2], NAMES[29], "v0"]
    np.testing.assert_array_equal(embeddings.read(some), whole[:, [33, 2, 29, 30]])
    twice = Embeddings.join([some, joined.select(np.arange(35) < 2)])
    np.testing.assert_array_equal(embeddings.read(twice), whole[:, [33, 2, 29, 30, 0, 1]])
    assert twice.relabelled(np.arange(6)).label.tolist() == list(range(6))


def test_a_split_without_pictures(tmp_path):
    embeddings.write(tmp_path / "val", np.zeros((2, 0, 7)), [], [])
    loaded = Embeddings.load(tmp_path / "val")
    assert (len(loaded), loaded.views, loaded.width) == (0, 2, 7)
    assert list(loaded.chunks()) == []


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e5, -70_000.0])
def test_what_half_precision_cannot_hold_is_refused(number):
    with pytest.raises(UserError, match=r"beyond ±65,504.*backbone\.rescaling"):
        to_half(np.array([1.0, number], np.float32))


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


DAMAGE = {
    "cut": lambda path: path.write_bytes(cut(path.read_bytes())),
    "garbage": lambda path: path.write_bytes(b"rubbish"),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:5000] + bytes(64) + path.read_bytes()[5064:]),
    "missing": lambda path: path.unlink(),
    "another shape": lambda path: np.save(path, np.zeros((1, 2, 3), np.float16)),
    "pickle": lambda path: np.save(path, np.array([{}], dtype=object)),
    "digests": lambda path: (path.parent / "features.sha256").write_text("../../secret\n"),
    "rows": lambda path: embeddings.write(path.parent, VECTORS[:, :7], NAMES, LABELS),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_named_with_the_way_out(folder, how):
    DAMAGE[how](folder / "features-00000.npy")
    with pytest.raises(UserError, match=r"train.(features|index).* is not readable.*dvc repro"):
        Embeddings.load(folder)


def test_a_file_that_is_cut_while_it_is_read_is_named(folder):
    loaded = Embeddings.load(folder)
    with (folder / "features-00000.npy").open("r+b") as opened:
        opened.truncate(500)
    with pytest.raises(UserError, match=r"features-00000\.npy is not readable \(it ends too early\)"):
        loaded.take(np.array([29]), 1)


@pytest.mark.parametrize("name", ["index.parquet", "features.sha256"])
def test_what_is_missing_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name} does not exist"):
        Embeddings.load(folder)
