import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import UserError
from pipeline.core.tables import write_parquet
from pipeline.duplicates import fingerprint_store
from pipeline.duplicates.fingerprint import VIEWS, fingerprint
from tests.support.copies import scene
from tests.support.pictures import sha


def table(count):
    rows = [(sha(str(number)), *fingerprint(scene(number))) for number in range(count)]
    frame = pd.DataFrame(rows, columns=["sha256", "hashes", "thumbnail", "contrast", "frame"])
    return frame.sort_values("sha256")


def test_it_reads_what_was_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint_store, "_ROWS", 2)
    wanted = table(5)
    write_parquet(wanted, tmp_path / "a.parquet")
    loaded = fingerprint_store.load(tmp_path / "a.parquet")
    assert loaded.sha256.tolist() == wanted["sha256"].tolist()
    assert loaded.hashes.shape == (5, len(VIEWS), 4)
    assert [row.tobytes() for row in loaded.hashes] == wanted["hashes"].tolist()
    assert [row.tobytes() for row in loaded.thumbnails[np.arange(5)]] == wanted["thumbnail"].tolist()
    assert loaded.contrast.tolist() == wanted["contrast"].tolist()


def test_an_empty_table_has_no_rows(tmp_path):
    write_parquet(table(1).head(0), tmp_path / "a.parquet")
    assert len(fingerprint_store.load(tmp_path / "a.parquet").hashes) == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: pd.concat([frame, frame.head(1)]),
        lambda frame: frame.drop(columns="thumbnail"),
        lambda frame: frame.assign(hashes=frame["hashes"].str.slice(0, 32)),
    ],
)
def test_another_table_is_refused_by_name(tmp_path, spoil):
    write_parquet(spoil(table(3)), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet"):
        fingerprint_store.load(tmp_path / "a.parquet")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        fingerprint_store.load(tmp_path / "a.parquet")


def test_thumbnails_come_in_the_order_that_they_are_asked_for():
    store = fingerprint_store.Thumbnails()
    given = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    store.put(np.array([2, 0]), given[[2, 0]])
    store.put(np.array([1]), given[1:2])
    assert (store[np.array([2, 0, 2])] == given[[2, 0, 2]]).all()
    assert store[np.array([], dtype=np.int64)].shape == (0, 64, 64)
    for row in (3, -1):
        with pytest.raises(IndexError, match=f"thumbnail {row}"):
            store[np.array([row])]
