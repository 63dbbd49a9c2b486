"""Finds the PDQ hash of a list that is nearest to a picture's, within 31 bits: exact, without reading the whole list.

A hash is 16 words of 16 bits. Of two hashes that differ in 31 bits or less, one word differs in one bit at most: so
only hashes that share a word but for one bit are compared (multi-index hashing, Norouzi et al., 2012).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.params.screens import MOST_BITS

_WORDS, _BITS = 16, 16
_KEYS = 2**_BITS
_FLIPS = np.concatenate([[0], 1 << np.arange(_BITS)]).astype(np.uint16)
_TABLES = (np.arange(_WORDS) * _KEYS)[:, None]


class Nearest(NamedTuple):
    """The nearest hash of a list, in hexadecimal digits; its distance in bits; and to which of the hashes given."""

    entry: str
    distance: int
    position: int


class PdqIndex:
    """An index of hashes, uint8 (n, 32). 96 bytes of memory a hash, and 4 MB."""

    def __init__(self, hashes: npt.NDArray[np.uint8]) -> None:
        self._hashes = np.ascontiguousarray(hashes).view(np.uint64)
        words = np.ascontiguousarray(hashes).view(np.uint16)
        # For each word: the hashes, ordered by its value, and where each value begins.
        self._order = np.concatenate([np.argsort(words[:, word], kind="stable") for word in range(_WORDS)])
        self._order = self._order.astype(np.uint32)
        counts = [np.bincount(words[:, word], minlength=_KEYS) for word in range(_WORDS)]
        self._starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.uint32)

    def __len__(self) -> int:
        """Return the number of hashes."""
        return len(self._hashes)

    def nearest(self, hashes: npt.NDArray[np.uint8], most: int = MOST_BITS) -> Nearest | None:
        """Return the nearest hash to any of `hashes`, uint8 (k, 32), within `most` bits (31 at most); None without."""
        queries = np.ascontiguousarray(hashes).view(np.uint64)
        keys = _TABLES + (queries.view(np.uint16)[:, :, None] ^ _FLIPS)
        begins = self._starts[keys].ravel().astype(np.int64)
        sizes = self._starts[keys + 1].ravel() - begins
        ends = np.cumsum(sizes)
        listed = self._order[np.repeat(begins - ends + sizes, sizes) + np.arange(ends[-1])]
        if not len(listed):
            return None
        by_query = np.diff(ends.reshape(len(queries), -1)[:, -1], prepend=0)
        different = self._hashes[listed] ^ np.repeat(queries, by_query, axis=0)
        distances = np.bitwise_count(different).sum(axis=1, dtype=np.uint16)
        best = int(distances.argmin())
        if distances[best] > most:
            return None
        position = int(np.searchsorted(np.cumsum(by_query), best, side="right"))
        return Nearest(self._hashes[listed[best]].tobytes().hex(), int(distances[best]), position)
