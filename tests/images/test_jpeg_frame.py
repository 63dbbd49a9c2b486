import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.images.jpeg_frame import read_frame
from tests.support.lossless import lossless_jpeg
from tests.support.pictures import draw, encode


def segment(marker: int, body: bytes = b"") -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def frame(marker: int, width: int = 7, height: int = 5) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))


SOI, SCAN = b"\xff\xd8", segment(0xDA, b"\1\1\0\0\77\0")


@pytest.mark.parametrize(
    ("options", "marker"), [({}, 0xC0), ({"progressive": True}, 0xC2), ({"restart_marker_blocks": 1}, 0xC0)]
)
def test_what_pillow_writes(rng, options, marker):
    header = read_frame(encode(draw(rng, (48, 40)), "JPEG", **options))
    assert header[:3] == (marker, 48, 40)
    assert header.scalable


@pytest.mark.parametrize(("subsampling", "samples"), [("4:4:4", 3), ("4:2:2", 2), ("4:2:0", 1.5)])
def test_a_progressive_picture_is_held_until_its_last_scan(rng, subsampling, samples):
    def held(mode: str, **options: object) -> int:
        data = encode(draw(rng, (48, 40), mode), "JPEG", **options)
        return read_frame(data).buffered_bytes(data)

    assert held("RGB", progressive=True, subsampling=subsampling) == 2 * 48 * 40 * samples
    assert held("L", progressive=True) == 2 * 48 * 40
    assert held("CMYK", progressive=True, subsampling="4:4:4") == 2 * 48 * 40 * 4
    assert held("RGB", subsampling=subsampling) == held("L") == 0


def test_a_baseline_picture_whose_scans_hold_a_component_each_is_held_too():
    three = struct.pack(">BHHB", 8, 5, 7, 3) + bytes([1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0])
    for components, held in ((1, 2 * 5 * 7 * 1.5), (3, 0)):
        scan = bytes([components]) + b"\1\0" * components + b"\0\77\0"
        data = SOI + segment(0xC0, three) + segment(0xC4, bytes(17)) + segment(0xDA, scan)
        assert read_frame(data).buffered_bytes(data) == int(held)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_no_other_process_is_scaled(marker):
    header = read_frame(lossless_jpeg(np.zeros((5, 7), np.uint8), marker))
    assert header[:3] == (marker, 7, 5)
    assert not header.scalable


@pytest.mark.parametrize(
    "before",
    [
        segment(0xE1, b"Exif\0\0" + SOI + frame(0xC0, 1, 1)),  # a thumbnail
        segment(0xFE, frame(0xC0, 1, 1)),
        segment(0xC4, b"\0" + bytes(16)),  # tables are no frames
        segment(0xCC, b"\0\1"),
        b"\xff\x01\xff\xd0\xff\xd7",  # without a length
        b"junk\0\xff\0\xff\0",
        b"\xff\xff\xff",
    ],
)
def test_what_stands_before_the_frame_is_passed_over(before):
    assert read_frame(SOI + before + frame(0xC3) + SCAN)[:3] == (0xC3, 7, 5)


@pytest.mark.parametrize(
    "data",
    [b"", SOI, SOI + SCAN + frame(0xC0), SOI + b"\xff\xd9" + frame(0xC0), SOI + SOI + frame(0xC0), SOI + b"\xff",
     SOI + frame(0xC0)[:8], SOI + b"\xff\xe1\xff\xff" + frame(0xC0)],
)  # fmt: skip
def test_where_there_is_no_frame_before_the_pixels(data):
    assert read_frame(data) is None


def test_the_second_picture_of_a_file(rng):
    first = encode(draw(rng), "JPEG", progressive=True)
    assert read_frame(first + SOI + frame(0xC3) + SCAN, len(first))[:3] == (0xC3, 7, 5)


@given(st.lists(st.sampled_from(b"\xff\xc0\xc3\xd8\xe1\0\2\x11"), max_size=40), st.integers(0, 9))
def test_any_bytes_have_a_frame_that_stands_in_them_or_none(values, start):
    data = bytes(values)
    header = read_frame(data, start)
    assert header is None or b"\xff" + bytes([header.marker]) in data[start + 2 :]
