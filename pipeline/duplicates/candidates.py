"""Candidate pairs: a band join over the hashes' low-frequency bits, then the distance on all their bits.

Two pictures are candidates if any view of one is within a few bits of one of the first views (targets) of the other.
Comparing all with all grows with the square. But two near hashes very likely agree in all bits of at least one of many
small, fixed samples of bits (bands), so only hashes with the same key in a band are compared: locality-sensitive
hashing by bit sampling (Indyk and Motwani, "Approximate nearest neighbors", 1998). The bits come from the 100 lowest
frequencies, which copies change least. Memory is bounded: the join takes one band at a time, in slices; a key that very
many hashes share is cut, and counted.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.duplicates.band_join import BandJoin, Rows

Words = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

LOW_BITS = 100
TARGETS = 3  # the first views (full, trimmed, inner), with which every view of another picture is compared
INNER = 2  # index of the view `inner`
_BUFFER = 4_000_000  # near pairs that are collected before equal ones are merged


class Bands(NamedTuple):
    """Samples of bits: int64 (bands, width), each the index of a bit in the hash."""

    bits: Integers

    @property
    def top_bit(self) -> int:
        """The highest bit of all samples."""
        return int(self.bits.max(initial=0))


class CandidatePairs(NamedTuple):
    """Pairs within the distance, sorted: rows left < right and their least distance (int64 each); and what was cut.

    `hot_keys`: number of keys that more rows share than are compared; `not_compared`: number of pairs (view, target)
    that were left out because of that.
    """

    left: Integers
    right: Integers
    distance: Integers
    hot_keys: int
    not_compared: int


@lru_cache
def _drawn(band: int, low_bits: int) -> tuple[int, ...]:
    # By digest instead of a random generator: the same bits with any version of numpy, and a wider band contains the
    # narrower one.
    return tuple(sorted(range(low_bits), key=lambda bit: hashlib.sha256(f"{band}:{bit}".encode()).digest()))


def draw_bands(count: int, width: int, low_bits: int = LOW_BITS) -> Bands:
    """Return `count` bands of `width` of the first `low_bits` bits, always the same ones."""
    return Bands(np.array([_drawn(band, low_bits)[:width] for band in range(count)], dtype=np.int64))


def bands_for(rows: int) -> Bands:
    """Return the bands for a number of multi-view hashes: the more rows, the wider, so that keys stay rare.

    Up to 50,000 rows: 64 bands of 16 bits. Then two bits more for each doubling, because the pairs that share a key by
    chance grow with the square; and more bands, of lower frequencies, because a wider band misses more.
    """
    extra = max(0, math.ceil(2 * math.log2(max(rows, 1) / 50_000)))
    return draw_bands(64 + 8 * min(extra, 8), min(16 + extra, 30), LOW_BITS if extra == 0 else 64)


def hamming(left: Words, right: Words) -> Integers:
    """Return the Hamming distance of uint64 words along the last axis; the arrays broadcast."""
    distance: Integers = np.bitwise_count(left ^ right).sum(axis=-1, dtype=np.int64)
    return distance


def distances(words: Words, left: Integers, right: Integers) -> Integers:
    """Return each pair's distance, 0..256 bits: the least between any view of one and a target view of the other.

    `words`: uint64 (rows, views, 4); `left`, `right`: the rows of each pair.
    """
    nearest = np.full(len(left), 64 * words.shape[2], dtype=np.int64)
    for start in range(0, len(left), 65_536):
        part = slice(start, start + 65_536)
        one, other = words[left[part]], words[right[part]]
        for target in range(min(TARGETS, words.shape[1])):
            for views, fixed in ((one, other), (other, one)):
                nearest[part] = np.minimum(nearest[part], hamming(views, fixed[:, target : target + 1]).min(axis=1))
    return nearest


def inner_distances(words: Words, left: Integers, right: Integers) -> Integers:
    """Return each pair's distance, 0..256 bits, between any view of one and the photograph within the other's screen.

    It is 256 where neither picture shows a photograph within a screen. Arguments as in `distances`.
    """
    nearest = np.full(len(left), 64 * words.shape[2], dtype=np.int64)
    framed = (words[:, INNER] != words[:, INNER - 1]).any(axis=1)
    for one, other in ((left, right), (right, left)):
        shown = np.flatnonzero(framed[other])
        for start in range(0, len(shown), 65_536):
            part = shown[start : start + 65_536]
            apart = hamming(words[one[part]], words[other[part], INNER : INNER + 1]).min(axis=1)
            nearest[part] = np.minimum(nearest[part], apart)
    return nearest


def first_equal(words: Words) -> Integers:
    """Return for each row the first row with the same full view: itself, if no row before it has an equal one."""
    full = np.ascontiguousarray(words[:, 0])
    _, first, group = np.unique(full.view(f"V{full.shape[1] * 8}").ravel(), return_index=True, return_inverse=True)
    same: Integers = first[group].astype(np.int64)
    return same


class BandPairs(NamedTuple):
    """What one band finds: its near pairs, each as smaller row * rows + larger row, sorted; and what was cut."""

    codes: Integers
    hot_keys: int
    not_compared: int


class Hashes:
    """All hashes, laid out for the join of any band."""

    def __init__(self, words: Words, top_bit: int) -> None:
        """Prepare `words`, uint64 (rows, views, 4); bands may use the bits 0 to `top_bit`."""
        # A hash's position is row * views + view. Keys need the first bytes of each hash, distances its words; both are
        # transposed, so that one byte or word of all hashes lies together in memory.
        self.rows, self.views = words.shape[:2]
        flat = words.reshape(self.rows * self.views, words.shape[2])
        self._head_bytes = np.ascontiguousarray(flat.view(np.uint8)[:, : top_bit // 8 + 1].T)
        self._by_word = np.ascontiguousarray(flat.T)
        # Every view is a probe; the first views alone are targets.
        self._probes = probes = _distinct_positions(words)
        self._targets = probes if self.views <= TARGETS else probes[probes % self.views < TARGETS]

    def near(self, bits: Integers, max_distance: int, hot: int) -> BandPairs:
        """Return the pairs of rows within `max_distance` bits whose hashes share the key of the band `bits`."""
        # Join probes and targets on this band's key.
        join = BandJoin(_keys(self._head_bytes, bits), self._probes, self._targets, hot)
        codes = _distinct(self._near_codes(one, other, max_distance) for one, other in join.slices())
        return BandPairs(codes, join.hot_keys, join.not_compared)

    def _near_codes(self, one: Rows, other: Rows, max_distance: int) -> Integers:
        """Return the near ones of pairs (probe, target) of positions, each as in `BandPairs`."""
        # Two targets meet twice, once in each role: one of the two is enough.
        unique_pairs = np.flatnonzero((one < other) | (one % self.views >= TARGETS))
        one, other = one[unique_pairs], other[unique_pairs]
        # A common key only makes pairs likely: compare all bits. Then go from views to rows, each pair as one number,
        # without pairs of two views of the same row.
        near = _within(self._by_word, one, other, max_distance)
        left, right = one[near].astype(np.int64) // self.views, other[near].astype(np.int64) // self.views
        codes: Integers = (np.minimum(left, right) * self.rows + np.maximum(left, right))[left != right]
        return np.unique(codes)


def search(words: Words, bands: Bands, max_distance: int, *, hot: int = 2_000) -> CandidatePairs:
    """Return the pairs of rows within `max_distance` bits whose hashes share the key of at least one band.

    `words`: uint64 (rows, views, 4); with one view it is a plain search. `hot`: of the views, and of the targets, that
    share a key, at most this many are compared: those of the first rows.
    """
    hashes = Hashes(words, bands.top_bit)
    return merged(words, (hashes.near(bits, max_distance, hot) for bits in bands.bits))


def merged(words: Words, by_band: Iterable[BandPairs]) -> CandidatePairs:
    """Return the pairs of all bands, each once, with their distances; `words`: as in `search`."""
    hot_keys = not_compared = 0

    def codes() -> Iterator[Integers]:
        nonlocal hot_keys, not_compared
        for band in by_band:
            hot_keys, not_compared = hot_keys + band.hot_keys, not_compared + band.not_compared
            yield band.codes

    # Back from numbers to sorted pairs, with the least distance over their views.
    distinct, rows = _distinct(codes()), max(len(words), 1)
    left, right = distinct // rows, distinct % rows
    return CandidatePairs(left, right, distances(words, left, right), hot_keys, not_compared)


def _distinct(parts: Iterable[Integers]) -> Integers:
    """Return the numbers of all parts, each once, sorted."""
    merged_parts, buffered = [np.zeros(0, dtype=np.int64)], 0
    for part in parts:
        merged_parts.append(part)
        buffered += len(part)
        # Many slices and bands have the same pair: merge now and then to bound memory. Only new parts count towards the
        # next merge; else a large result would be merged again after every part.
        if buffered > _BUFFER:
            merged_parts, buffered = [np.unique(np.concatenate(merged_parts))], 0
    return np.unique(np.concatenate(merged_parts))


def _distinct_positions(words: Words) -> Rows:
    """Return the positions of all hashes, without targets that equal the one before: most pictures have no frame."""
    different = np.ones(words.shape[:2], dtype=np.bool_)
    for view in range(1, min(TARGETS, words.shape[1])):
        different[:, view] = (words[:, view] != words[:, view - 1]).any(axis=1)
    return np.flatnonzero(different.ravel()).astype(np.uint32)


def _keys(head_bytes: npt.NDArray[np.uint8], bits: Integers) -> npt.NDArray[np.uint32]:
    """Return each hash's key, its bits at `bits` (bit 0 is the highest of byte 0).

    `head_bytes`: the first bytes of all hashes, (bytes, hashes).
    """
    keys = np.zeros(head_bytes.shape[1], dtype=np.uint32)
    for start in range(0, len(bits), 8):
        # Eight bits at a time into a byte, then into the key: a quarter of the memory traffic of 32-bit steps.
        byte = np.zeros(head_bytes.shape[1], dtype=np.uint8)
        for position, bit in enumerate(bits[start : start + 8].tolist()):
            byte |= ((head_bytes[bit // 8] >> np.uint8(7 - bit % 8)) & np.uint8(1)) << np.uint8(position)
        keys |= byte.astype(np.uint32) << np.uint32(start)
    return keys


def _within(by_word: Words, one: Rows, other: Rows, limit: int) -> Integers:
    """Return the indices of the pairs within `limit` bits; `by_word`: uint64 (4, hashes).

    Word by word: the sum only grows, so a pair above the limit is dropped before its further words are read.
    """
    total = np.bitwise_count(np.take(by_word[0], one) ^ np.take(by_word[0], other)).astype(np.uint16)
    near = np.flatnonzero(total <= limit)
    total = total[near]
    for word in by_word[1:]:
        total += np.bitwise_count(np.take(word, one[near]) ^ np.take(word, other[near]))
        below = np.flatnonzero(total <= limit)
        near, total = near[below], total[below]
    return near
