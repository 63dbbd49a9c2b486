import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.training.embeddings import Embeddings


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 30, 64)).astype("float32")
    made = Embeddings(features, np.array([f"{k:064x}" for k in range(30)]), rng.integers(0, 3, 30))
    made.save(tmp_path / "train.npz")
    return made, tmp_path / "train.npz"


def test_they_come_back_as_they_were(saved):
    made, path = saved
    loaded = Embeddings.load(path)
    for name in ("features", "sha256", "label"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(made, name))
    assert loaded.features.dtype == np.float32


def test_equal_arrays_give_equal_bytes(saved, tmp_path):
    made, path = saved
    made.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def spoil(path, how):
    data = path.read_bytes()
    match how:
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "garbage":
            path.write_bytes(b"rubbish")
        case "empty":
            path.write_bytes(b"")
        case "flipped":
            path.write_bytes(data[:5000] + bytes(64) + data[5064:])
        case "column":
            np.savez(path, features=np.zeros((1, 2, 3)))
        case "pickle":
            np.savez(path, features=np.array([{}], dtype=object), sha256=np.array(["a"]), label=np.zeros(1))


@pytest.mark.parametrize("how", ["cut", "garbage", "empty", "flipped", "column", "pickle"])
def test_a_broken_file_is_named_with_the_way_out(saved, how):
    _, path = saved
    spoil(path, how)
    with pytest.raises(UserError, match=r"train\.npz is not readable.*dvc repro"):
        Embeddings.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"val\.npz does not exist"):
        Embeddings.load(tmp_path / "val.npz")
