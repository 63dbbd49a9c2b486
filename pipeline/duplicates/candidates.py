"""Which pictures may be one: a band join over the hashes' low-frequency bits, then the distance on all their bits.

Two pictures are candidates if any view of one lies within some bits of the first views (targets) of the other. To
compare all with all grows with the square; two hashes that are near agree in all bits of at least one of many small,
fixed draws of bits (a band), so only what shares a band's key is compared: locality-sensitive hashing by bit sampling
(Indyk and Motwani, "Approximate nearest neighbors", 1998). The bits come from the 100 lowest frequencies, which copies
change least. Memory is bounded: one band at a time, in slices, and a key that very many share is cut and counted.
"""

import hashlib
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

Words = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.uint32]

LOW_BITS = 100
TARGETS = 3  # the first views, full, trimmed and inner: what every view of another picture is compared with
INNER = 2
_SLICE = 2_000_000  # pairs that share a key, compared at a time
_BUFFER = 4_000_000  # pairs found, before equal ones are merged
_FOLD = np.uint32(2**20 - 1)


class Bands(NamedTuple):
    """Draws of bits: int64 (bands, width), each a bit's place in the hash."""

    bits: Integers


class Found(NamedTuple):
    """Pairs within the distance: rows left < right and their least distance (int64 each), sorted; what was cut.

    `hot_keys`: keys shared by more rows than compared; `not_compared`: pairs of a view and a target so left out.
    """

    left: Integers
    right: Integers
    distance: Integers
    hot_keys: int
    not_compared: int


@lru_cache
def _drawn(band: int, low_bits: int) -> tuple[int, ...]:
    # By digest, not by a generator: the same bits with any version of numpy, and a wider band holds the narrower one.
    return tuple(sorted(range(low_bits), key=lambda bit: hashlib.sha256(f"{band}:{bit}".encode()).digest()))


def draw_bands(count: int, width: int, low_bits: int = LOW_BITS) -> Bands:
    """Return `count` bands of `width` of the first `low_bits` bits, always the same ones."""
    return Bands(np.array([_drawn(band, low_bits)[:width] for band in range(count)], dtype=np.int64))


def bands_for(rows: int) -> Bands:
    """Return the bands for so many multi-view hashes: wider ones where there are more, so that keys stay rare.

    Up to 50,000 rows 64 bands of 16 bits; then two bits more for each doubling (what shares a key by chance grows with
    the square), and more bands of yet lower frequencies, since a wider one misses more.
    """
    extra = max(0, math.ceil(2 * math.log2(max(rows, 1) / 50_000)))
    return draw_bands(64 + 8 * min(extra, 8), min(16 + extra, 30), LOW_BITS if extra == 0 else 64)


def popcount(left: Words, right: Words) -> Integers:
    """Return the Hamming distance along the last axis; words broadcast."""
    distance: Integers = np.bitwise_count(left ^ right).sum(axis=-1, dtype=np.int64)
    return distance


def distances(words: Words, left: Integers, right: Integers) -> Integers:
    """Return each pair's distance, 0..256: the least between any view of one and a target view of the other.

    `words`: uint64 (rows, views, 4).
    """
    nearest = np.full(len(left), 64 * words.shape[2], dtype=np.int64)
    for start in range(0, len(left), 65_536):
        part = slice(start, start + 65_536)
        one, other = words[left[part]], words[right[part]]
        for target in range(min(TARGETS, words.shape[1])):
            for views, fixed in ((one, other), (other, one)):
                nearest[part] = np.minimum(nearest[part], popcount(views, fixed[:, target : target + 1]).min(axis=1))
    return nearest


def inner_distances(words: Words, left: Integers, right: Integers) -> Integers:
    """Return each pair's distance by way of a photograph within a screen, 0..256; 256 where neither shows one."""
    nearest = np.full(len(left), 64 * words.shape[2], dtype=np.int64)
    framed = (words[:, INNER] != words[:, INNER - 1]).any(axis=1)
    for one, other in ((left, right), (right, left)):
        shown = np.flatnonzero(framed[other])
        for start in range(0, len(shown), 65_536):
            part = shown[start : start + 65_536]
            apart = popcount(words[one[part]], words[other[part], INNER : INNER + 1]).min(axis=1)
            nearest[part] = np.minimum(nearest[part], apart)
    return nearest


def collapse(words: Words) -> Integers:
    """Return for each row the first row with the same full view (itself, where there is none)."""
    full = np.ascontiguousarray(words[:, 0])
    _, first, group = np.unique(full.view(f"V{full.shape[1] * 8}").ravel(), return_index=True, return_inverse=True)
    same: Integers = first[group].astype(np.int64)
    return same


def search(words: Words, bands: Bands, max_distance: int, *, hot: int = 2_000) -> Found:
    """Return the pairs of rows within `max_distance`, as far as a band's key brings them together.

    `words`: uint64 (rows, views, 4); with one view it is a plain search. `hot`: of the views, and of the targets, that
    share a key at most so many are compared, the first rows first.
    """
    rows, views = words.shape[:2]
    flat = words.reshape(rows * views, words.shape[2])
    head = np.ascontiguousarray(flat.view(np.uint8)[:, : int(bands.bits.max(initial=0)) // 8 + 1].T)
    by_word = np.ascontiguousarray(flat.T)
    probes = _distinct(words)
    targets = probes if views <= TARGETS else probes[probes % views < TARGETS]
    codes = [np.zeros(0, dtype=np.int64)]
    held, hot_keys, not_compared = 0, 0, 0
    for bits in bands.bits:
        join = _Join(_keys(head, bits), probes, targets, hot)
        hot_keys, not_compared = hot_keys + join.hot_keys, not_compared + join.not_compared
        for one, other in join.slices():
            once = np.flatnonzero((one < other) | (one % views >= TARGETS))  # two targets meet twice
            one, other = one[once], other[once]  # noqa: PLW2901
            near = _near(by_word, one, other, max_distance)
            left, right = one[near].astype(np.int64) // views, other[near].astype(np.int64) // views
            codes.append(np.unique((np.minimum(left, right) * rows + np.maximum(left, right))[left != right]))
            held += len(codes[-1])
        if held > _BUFFER:
            codes = [np.unique(np.concatenate(codes))]
            held = 0  # of what is new: merging again at once would cost the whole each time
    merged = np.unique(np.concatenate(codes))
    left, right = merged // max(rows, 1), merged % max(rows, 1)
    return Found(left, right, distances(words, left, right), hot_keys, not_compared)


def _distinct(words: Words) -> Rows:
    """Return the places of all hashes but of those targets that equal the one before: most pictures have no frame."""
    different = np.ones(words.shape[:2], dtype=np.bool_)
    for view in range(1, min(TARGETS, words.shape[1])):
        different[:, view] = (words[:, view] != words[:, view - 1]).any(axis=1)
    return np.flatnonzero(different.ravel()).astype(np.uint32)


def _keys(head: npt.NDArray[np.uint8], bits: Integers) -> npt.NDArray[np.uint32]:
    """Return each hash's key, its bits at `bits` (bit 0: the highest of byte 0); `head`: the hashes' first bytes."""
    keys = np.zeros(head.shape[1], dtype=np.uint32)
    for start in range(0, len(bits), 8):
        byte = np.zeros(head.shape[1], dtype=np.uint8)  # by bytes: a quarter of the memory traffic
        for place, bit in enumerate(bits[start : start + 8].tolist()):
            byte |= ((head[bit // 8] >> np.uint8(7 - bit % 8)) & np.uint8(1)) << np.uint8(place)
        keys |= byte.astype(np.uint32) << np.uint32(start)
    return keys


def _near(by_word: Words, one: Rows, other: Rows, limit: int) -> Integers:
    """Return which pairs are within `limit`; `by_word`: uint64 (4, hashes). Word by word: the sum only grows."""
    total = np.bitwise_count(np.take(by_word[0], one) ^ np.take(by_word[0], other)).astype(np.uint16)
    kept = np.flatnonzero(total <= limit)
    total = total[kept]
    for word in by_word[1:]:
        total += np.bitwise_count(np.take(word, one[kept]) ^ np.take(word, other[kept]))
        below = np.flatnonzero(total <= limit)
        kept, total = kept[below], total[below]
    return kept


def _by_key(keys: npt.NDArray[np.uint32], places: Rows, name: str) -> pl.DataFrame:
    """Return `key` and the places under `name`, sorted by both: as one number each, which numpy sorts fastest."""
    both = np.sort((keys[places].astype(np.uint64) << np.uint64(32)) | places)
    return pl.DataFrame({"key": (both >> np.uint64(32)).astype(np.uint32), name: both.astype(np.uint32)})


def _sorted(side: pl.DataFrame) -> pl.DataFrame:
    """Return the same, with polars told that it is sorted by key: a merge, six times as fast as a hash join."""
    return side.with_columns(pl.col("key").set_sorted())


class _Join:
    """One band: probes and targets (places of hashes) by key; of a hot key only the first."""

    def __init__(self, keys: npt.NDArray[np.uint32], probes: Rows, targets: Rows, hot: int) -> None:
        self.probes = _by_key(keys, probes, "one")
        self.targets = self.probes.rename({"one": "other"}) if targets is probes else _by_key(keys, targets, "other")
        self.hot_keys = self.not_compared = 0
        # Folded: counting 30-bit keys by array would need gigabytes; what two keys share is at most too large.
        asked, offered = (np.bincount(keys[side] & _FOLD, minlength=int(_FOLD) + 1) for side in (probes, targets))
        self.total = int((np.minimum(asked, hot) * np.minimum(offered, hot)).sum())
        tops = np.flatnonzero(((asked > hot) & (offered > 0)) | (offered > hot))
        if len(tops):
            self._cut_hot(tops.astype(np.uint32), hot)

    def _cut_hot(self, folded: npt.NDArray[np.uint32], hot: int) -> None:
        suspects = pl.Series(folded)
        sizes = []
        for name in ("probes", "targets"):
            side: pl.DataFrame = getattr(self, name)
            many = pl.col("key").mod(int(_FOLD) + 1).is_in(suspects.implode())
            few, crowd = side.filter(~many), side.filter(many).sort(side.columns)
            sizes.append(crowd.group_by("key").agg(pl.len().cast(pl.Int64).alias(name)))
            setattr(self, name, pl.concat([few, crowd.filter(pl.int_range(pl.len()).over("key") < hot)]).sort("key"))
        both = sizes[0].join(sizes[1], on="key").filter((pl.col("probes") > hot) | (pl.col("targets") > hot))
        compared = pl.min_horizontal("probes", pl.lit(hot)) * pl.min_horizontal("targets", pl.lit(hot))
        self.hot_keys = both.height
        self.not_compared = int(both.select((pl.col("probes") * pl.col("targets") - compared).sum()).item() or 0)

    def slices(self) -> Iterator[tuple[Rows, Rows]]:
        """Yield the pairs (probe, target) that share a key, some `_SLICE` at a time, in no certain order."""
        parts = max(1, math.ceil(self.total / _SLICE))
        for part in range(parts):
            # Every so-manieth row: neighbours in the table (a batch) may share keys, and would fill one slice.
            some = self.probes if parts == 1 else self.probes.gather_every(parts, part)
            joined = _sorted(some).join(_sorted(self.targets), on="key")
            yield joined["one"].to_numpy(), joined["other"].to_numpy()
