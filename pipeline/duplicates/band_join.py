"""The join of one band: which hashes have the same key, with bounded memory."""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

_SLICE = 2_000_000  # pairs that share a key, compared at a time
_FOLD_MASK = np.uint32(2**20 - 1)  # the bits of a key by which keys are counted

Rows = npt.NDArray[np.uint32]


def _by_key(keys: npt.NDArray[np.uint32], positions: Rows, name: str) -> pl.DataFrame:
    """Return a table of `key` and, as `name`, the positions, sorted by both.

    Key and position are sorted as one 64-bit number, which is the fastest in numpy.
    """
    packed = np.sort((keys[positions].astype(np.uint64) << np.uint64(32)) | positions)
    return pl.DataFrame({"key": (packed >> np.uint64(32)).astype(np.uint32), name: packed.astype(np.uint32)})


def _as_sorted(side: pl.DataFrame) -> pl.DataFrame:
    """Mark a table as sorted by key, so that polars joins it by merging: six times as fast as a hash join."""
    return side.with_columns(pl.col("key").set_sorted())


class BandJoin:
    """The join of one band: tables of probes and targets (positions of hashes) by key; of a hot key only the first."""

    def __init__(self, keys: npt.NDArray[np.uint32], probes: Rows, targets: Rows, hot: int) -> None:
        """Sort both sides by key; `keys`: of all hashes, `probes` and `targets`: positions; see `candidates.search`."""
        self.probes = _by_key(keys, probes, "one")
        self.targets = self.probes.rename({"one": "other"}) if targets is probes else _by_key(keys, targets, "other")
        self.hot_keys = self.not_compared = 0
        # Count the hashes of each key. An array for all 30-bit keys would need gigabytes, so keys are folded to 20
        # bits; keys that share a fold are counted together, which makes a count too large, never too small.
        probe_counts, target_counts = (
            np.bincount(keys[side] & _FOLD_MASK, minlength=int(_FOLD_MASK) + 1) for side in (probes, targets)
        )
        # An estimate of the number of pairs to compare, for the number of slices.
        self.total = int((np.minimum(probe_counts, hot) * np.minimum(target_counts, hot)).sum())
        hot_folds = np.flatnonzero(((probe_counts > hot) & (target_counts > 0)) | (target_counts > hot))
        if len(hot_folds):
            self._cut_hot(hot_folds.astype(np.uint32), hot)

    def _cut_hot(self, folded: npt.NDArray[np.uint32], hot: int) -> None:
        """Keep only the first `hot` hashes of each key, and count what is left out; `folded`: folds that may be hot."""
        folds = pl.Series(folded)
        sizes = []
        for name in ("probes", "targets"):
            side: pl.DataFrame = getattr(self, name)
            many = pl.col("key").mod(int(_FOLD_MASK) + 1).is_in(folds.implode())
            # Only rows of a suspect fold are grouped by their whole key; the others stay as they are.
            cold, crowded = side.filter(~many), side.filter(many).sort(side.columns)
            sizes.append(crowded.group_by("key").agg(pl.len().cast(pl.Int64).alias(name)))
            setattr(self, name, pl.concat([cold, crowded.filter(pl.int_range(pl.len()).over("key") < hot)]).sort("key"))
        # Of the keys that both sides have, those that are cut on either side.
        both = sizes[0].join(sizes[1], on="key").filter((pl.col("probes") > hot) | (pl.col("targets") > hot))
        compared = pl.min_horizontal("probes", pl.lit(hot)) * pl.min_horizontal("targets", pl.lit(hot))
        self.hot_keys = both.height
        self.not_compared = int(both.select((pl.col("probes") * pl.col("targets") - compared).sum()).item() or 0)

    def slices(self) -> Iterator[tuple[Rows, Rows]]:
        """Yield the pairs (probe, target) that share a key, about `_SLICE` at a time, in no particular order."""
        parts = max(1, math.ceil(self.total / _SLICE))
        for part in range(parts):
            # Every `parts`-th row: neighbours in the table (a batch) may share keys, and would fill one slice.
            some = self.probes if parts == 1 else self.probes.gather_every(parts, part)
            joined = _as_sorted(some).join(_as_sorted(self.targets), on="key")
            yield joined["one"].to_numpy(), joined["other"].to_numpy()
