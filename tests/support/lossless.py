"""A lossless JPEG (SOF3), which Pillow reads and does not write: predictor 1, Huffman, 8 bits."""

import struct

import numpy as np

# The code of each category of difference, 0 to 8, is its number in four bits: a valid Huffman table, though a long one.
_TABLE = bytes([0, 0, 0, 9, *bytes(12)]) + bytes(range(9))


def lossless_jpeg(pixels: np.ndarray, process: int = 0xC3) -> bytes:
    """Encode uint8 (height, width) or (height, width, 3) without loss; `process` is the frame marker's second byte."""
    planes = pixels.reshape(*pixels.shape[:2], -1)
    height, width, layers = planes.shape
    frame = struct.pack(">BHHB", 8, height, width, layers) + b"".join(bytes([n, 0x11, 0]) for n in range(1, layers + 1))
    scan = bytes([layers]) + b"".join(bytes([n, 0]) for n in range(1, layers + 1)) + bytes([1, 0, 0])
    head = b"\xff\xd8" + _segment(process, frame) + _segment(0xC4, b"\0" + _TABLE)
    return head + _segment(0xDA, scan) + _stuffed(_differences(planes.astype(int))) + b"\xff\xd9"


def _segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def _differences(planes: np.ndarray) -> np.ndarray:
    """Return each value's difference from its left neighbour; in the first column, from the upper neighbour."""
    left = np.roll(planes, 1, axis=1)
    left[1:, 0] = planes[:-1, 0]
    left[0, 0] = 128
    return (planes - left).reshape(-1)


def _stuffed(differences: np.ndarray) -> bytes:
    bits = "".join(map(_code, differences.tolist()))
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def _code(difference: int) -> str:
    category = abs(difference).bit_length()
    value = difference if difference >= 0 else difference + (1 << category) - 1
    return f"{category:04b}" + (f"{value:0{category}b}" if category else "")
