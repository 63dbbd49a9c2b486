"""Read a JPEG's frame header as libjpeg does: by its markers, so that a thumbnail in EXIF is not mistaken for it."""

import struct
from typing import NamedTuple

_STANDALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})  # 0xFF00 is no marker, and has no length either
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 ... SOF15; the others are DHT, JPG, DAC
_SCANS = frozenset({0xDA})
_ENDS = frozenset({0xD8, 0xD9, 0xFF, *_SCANS})  # a second SOI, EOI, SOS: no frame header comes after them
_SCALABLE = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_HEADER = struct.Struct(">BHBHHB")  # marker, length, precision, height, width, number of components


class FrameHeader(NamedTuple):
    """A frame header: its marker's second byte (0xC0 is baseline), px, each component's sampling factors, its end."""

    marker: int
    width: int
    height: int
    factors: bytes
    end: int

    @property
    def scalable(self) -> bool:
        """Whether libjpeg can decode it at a reduced scale: baseline, extended or progressive.

        For a lossless JPEG it would write full rows into a buffer for reduced ones: never draft that.
        """
        return self.marker in _SCALABLE

    def buffered_bytes(self, data: bytes) -> int:
        """Return the bytes that libjpeg buffers until the last of several scans, at any scale: 2 per sample; else 0."""
        scan = _find_marker(data, self.end, _SCANS)
        components = data[scan + 3 : scan + 4]
        if self.marker not in _PROGRESSIVE and components >= bytes([len(self.factors)]):
            return 0
        across, down = [factor >> 4 for factor in self.factors], [factor & 15 for factor in self.factors]
        most_samples = max(across, default=0) * max(down, default=0)
        samples = sum(vertical * horizontal for vertical, horizontal in zip(down, across, strict=True))
        return 2 * self.width * self.height * samples // max(1, most_samples)


def read_frame(data: bytes, start: int = 0) -> FrameHeader | None:
    """Return the first frame header of the JPEG that begins at `start`; None if there is none before the pixels."""
    at = _find_marker(data, start + 2, _FRAMES)
    header = data[at : at + 9]
    if len(header) < 9:
        return None
    marker, length, _, height, width, count = _HEADER.unpack(header)
    return FrameHeader(marker, width, height, data[at + 10 : at + 9 + 3 * count : 3], at + 1 + max(2, length))


def _find_marker(data: bytes, at: int, wanted: frozenset[int]) -> int:
    """Return the offset of the second byte of the first wanted marker at or after `at`; len(data) if there is none.

    One plain loop, for speed: every JPEG passes through it.
    """
    end = len(data) - 3
    while at < end:
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)
            if at < 0:
                break
        at += 1
        while at < end and data[at] == 0xFF:
            at += 1
        marker = data[at] if at < end else 0xFF
        if marker in wanted:
            return at
        if marker in _ENDS:
            break
        at += 1
        if marker not in _STANDALONE:
            at += max(2, data[at] << 8 | data[at + 1])
    return len(data)
