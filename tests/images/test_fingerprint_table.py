import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import sha

from pipeline.images import fingerprint_table
from pipeline.images.fingerprint_table import gather

CONTENTS = [sha(str(number)) for number in range(30)]


def row(number: int, reason: str) -> dict[str, object]:
    return {
        "sha256": CONTENTS[number], "reason": reason, "hashes": bytes([number]) * 3, "thumbnail": bytes([number]),
        "contrast": float(number),
    }  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 29), st.booleans()), unique_by=lambda pair: pair[0]), max_size=4),
    st.sets(st.integers(0, 29)),
    st.integers(1, 7),
)
def test_every_wanted_content_that_has_a_fingerprint_is_there_once_in_order(tmp_path_factory, tables, wanted, together):
    folder = tmp_path_factory.mktemp("results")
    for number, rows in enumerate(tables):
        frame = pd.DataFrame([row(n, "" if fine else "broken: x") for n, fine in rows], columns=list(row(0, "")))
        frame = frame.astype({"sha256": "str", "reason": "str", "contrast": float})
        frame.sort_values("sha256").to_parquet(folder / f"{number}.parquet", index=False, row_group_size=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint_table, "_TOGETHER", together)
        gather(sorted(folder.glob("*.parquet")), sorted(CONTENTS[n] for n in wanted), folder / "out")
    found = pq.read_table(folder / "out").to_pylist()
    fine = {n for rows in tables for n, is_fine in rows if is_fine} & wanted
    expected = sorted((row(n, "") for n in fine), key=lambda one: one["sha256"])
    assert found == [{key: value for key, value in one.items() if key != "reason"} for one in expected]


def test_it_is_written_in_groups_that_a_reader_can_stream(tmp_path, monkeypatch):
    contents = sorted(sha(str(number)) for number in range(10_000))
    frame = pd.DataFrame(
        {"sha256": contents, "reason": "", "hashes": b"h", "thumbnail": b"t", "contrast": np.arange(10_000.0)}
    )
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    gather([tmp_path / "a.parquet"], contents, tmp_path / "out")
    opened = pq.ParquetFile(tmp_path / "out")
    assert [opened.metadata.row_group(k).num_rows for k in range(3)] == [4096, 4096, 1808]
    assert opened.schema_arrow == fingerprint_table.SCHEMA
    assert opened.read()["contrast"].to_pylist() == list(range(10_000))
    before = (tmp_path / "out").read_bytes()
    gather([tmp_path / "a.parquet"], contents, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == before


def test_no_content_is_an_empty_table(tmp_path):
    gather([], [], tmp_path / "out")
    assert pq.read_table(tmp_path / "out").schema == fingerprint_table.SCHEMA
