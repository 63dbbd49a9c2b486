"""The table of all fingerprints: gathered from the shards' results, sorted, a part in memory at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import files

ROW_GROUP = 4096  # contents that a reader has in memory at a time: some 18 MB
_TOGETHER = 4 * ROW_GROUP  # contents that are sorted at a time: some 75 MB

SCHEMA = pa.schema(
    [("sha256", pa.string()), ("hashes", pa.binary()), ("thumbnail", pa.binary()), ("contrast", pa.float64())]
)


def gather(results: Sequence[Path], contents: Sequence[str], path: Path) -> None:
    """Write the fingerprints of `contents` (sorted, distinct) out of the tables `results`, in that order.

    A content that several tables hold counts once. The tables are quickly read if each is sorted by sha256.
    """
    with files.atomic(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        for some in _runs(contents):
            writer.write_table(_gathered(results, some), row_group_size=ROW_GROUP)


def _runs(contents: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(contents), _TOGETHER):
        yield contents[start : start + _TOGETHER]


def _gathered(results: Sequence[Path], contents: Sequence[str]) -> pa.Table:
    within = [("sha256", ">=", contents[0]), ("sha256", "<=", contents[-1]), ("reason", "==", "")]
    parts = [pq.read_table(place, columns=SCHEMA.names, filters=within).cast(SCHEMA) for place in results]
    table = pa.concat_tables([SCHEMA.empty_table(), *parts])
    found, first = np.unique(table["sha256"].to_numpy().astype(str), return_index=True)
    return table.take(first[np.isin(found, np.array(contents))])
