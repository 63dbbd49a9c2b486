import pandas as pd
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog import fingerprint_table
from pipeline.catalog.fingerprint_table import gather
from tests.support.pictures import sha

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
)
def test_every_wanted_content_that_has_a_fingerprint_is_there_once(tmp_path_factory, tables, wanted):
    folder = tmp_path_factory.mktemp("results")
    for number, rows in enumerate(tables):
        frame = pd.DataFrame([row(n, "" if fine else "broken: x") for n, fine in rows], columns=list(row(0, "")))
        frame = frame.astype({"sha256": "str", "reason": "str", "contrast": float})
        frame.to_parquet(folder / f"{number}.parquet", index=False)
    results = sorted(folder.glob("*.parquet"))
    gather(results, {CONTENTS[n] for n in wanted}, folder / "out")
    written = pq.read_table(folder / "out").to_pylist()
    fine = {n: None for rows in tables for n, is_fine in rows if is_fine and n in wanted}  # each where it is first
    assert written == [{key: value for key, value in row(n, "").items() if key != "reason"} for n in fine]
    before = (folder / "out").read_bytes()
    gather(results, {CONTENTS[n] for n in wanted}, folder / "out")
    assert (folder / "out").read_bytes() == before


def test_no_content_is_an_empty_table(tmp_path):
    gather([], set(), tmp_path / "out")
    assert pq.read_table(tmp_path / "out").schema == fingerprint_table.SCHEMA
