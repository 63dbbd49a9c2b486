"""Write the table of all fingerprints: the shards' results one after the other, one shard in memory at a time."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import files

SCHEMA = pa.schema(
    [("sha256", pa.string()), ("hashes", pa.binary()), ("thumbnail", pa.binary()), ("contrast", pa.float64())]
)


def gather(results: Sequence[Path], contents: Collection[str], path: Path) -> None:
    """Write the fingerprints of `contents` from the tables `results` to `path`, in the order of the tables; each once.

    The rows are not sorted as a whole: a new batch must cost only its own size.
    """
    wanted = set(contents)
    with files.atomic(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        for result in results:
            table = pq.read_table(result, columns=[*SCHEMA.names, "reason"], pre_buffer=False)
            names = table["sha256"].to_pylist()
            rows = [
                row for row, reason in enumerate(table["reason"].to_pylist()) if not reason and names[row] in wanted
            ]
            wanted -= {names[row] for row in rows}
            if rows:
                writer.write_table(table.select(SCHEMA.names).take(pa.array(rows)).cast(SCHEMA))
