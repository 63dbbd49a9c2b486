"""The search for candidate pairs band by band on a cluster; on this machine alone, as `candidates.search`.

Every worker reads all hashes from a file in the shared folder, and joins one band after the other: no hash travels
between workers, and the pairs are the same wherever a band is joined.
"""

from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from pipeline.core import executor, files, paths
from pipeline.duplicates import candidates
from pipeline.duplicates.candidates import BandPairs, Bands, CandidatePairs, Hashes, Words


def search(words: Words, bands: Bands, max_distance: int, *, hot: int) -> CandidatePairs:
    """Return what `candidates.search` returns.

    Raises:
        UserError: as `executor.map_shards`.

    """
    if executor.scheduler() is None:
        return candidates.search(words, bands, max_distance, hot=hot)
    file = paths.HASHES_CACHE
    with files.atomic(file) as written, written.open("wb") as opened:
        np.save(opened, words)
    try:
        stamp = file.stat().st_mtime_ns
        join = partial(join_band, file, stamp, bands.top_bit, max_distance, hot)
        return candidates.merged(words, executor.map_shards(join, bands.bits.tolist()))
    finally:
        file.unlink(missing_ok=True)


def join_band(file: Path, stamp: int, top_bit: int, max_distance: int, hot: int, bits: list[int]) -> BandPairs:
    """Return the near pairs of one band of the hashes in `file`; `stamp` is another one for other hashes."""
    return _hashes(file, stamp, top_bit).near(np.array(bits, dtype=np.int64), max_distance, hot)


@lru_cache(maxsize=1)
def _hashes(file: Path, stamp: int, top_bit: int) -> Hashes:  # noqa: ARG001 -- the key of what is cached
    return Hashes(np.load(file, allow_pickle=False), top_bit)
