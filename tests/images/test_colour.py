import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.images import colour
from pipeline.images.colour import to_grey, to_rgb
from pipeline.images.decode import decode
from pipeline.images.limits import Limits
from tests.support.pictures import draw, encode

SIZE = (37, 29)


def drawn(rng: np.random.Generator, mode: str) -> Image.Image:
    """A picture of any of Pillow's modes, transparent in part where the mode can be."""
    colours, alpha = draw(rng, SIZE), draw(rng, SIZE, "L")
    grey = np.asarray(colours.convert("L"))
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 250)
    if mode == "I;16B":
        return Image.frombytes(mode, SIZE, (grey.astype(">u2") * 250).tobytes())
    if mode in {"I", "F"}:
        return Image.fromarray(grey.astype({"I": np.int32, "F": np.float32}[mode]) * 1000 - 90_000)
    if mode == "P with transparency":
        image = colours.quantize(16)
        image.info["transparency"] = 3
        return image
    if mode == "RGB with transparency":
        colours.info["transparency"] = colours.getpixel((0, 0))
        return colours
    if mode in {"RGBA", "LA"}:
        return Image.merge(mode, [*colours.convert(mode[:-1]).split(), alpha])
    return colours.convert(mode)


MODES = ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "RGBA", "I;16", "I;16B", "I", "F", "P with transparency",
         "RGB with transparency"]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 5, 28])
@pytest.mark.parametrize("mode", MODES)
def test_bands_are_nothing_but_the_whole(rng, mode, rows, monkeypatch):
    image = drawn(rng, mode)
    rgb, grey = to_rgb(image), to_grey(image)
    assert (rgb.mode, grey.mode, rgb.size) == ("RGB", "L", SIZE)
    assert grey.tobytes() == rgb.convert("L").tobytes()
    monkeypatch.setattr(colour, "_BAND", rows * SIZE[0])
    assert to_rgb(image).tobytes() == rgb.tobytes()
    assert to_grey(image).tobytes() == grey.tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P with transparency", "RGB with transparency"])
def test_transparency_is_over_white(rng, mode):
    image = drawn(rng, mode)
    layer = np.asarray(image.convert("RGBA")).astype(float)
    share = layer[..., 3:] / 255
    assert np.abs(np.asarray(to_rgb(image)) - (layer[..., :3] * share + 255 * (1 - share))).max() <= 1
    assert share.min() < 1


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_keep_the_upper_eight(rng, mode):
    image = drawn(rng, mode)
    assert (np.asarray(to_rgb(image)) == (np.asarray(image) >> 8)[..., None]).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_grey_without_a_scale_is_shown_from_its_least_to_its_greatest(rng, mode):
    image = drawn(rng, mode)
    values = np.asarray(image).astype(float)
    wanted = (values - values.min()) / np.ptp(values) * 255
    assert np.abs(np.asarray(to_rgb(image)) - wanted[..., None]).max() <= 0.5


@pytest.mark.parametrize("odd", [[np.nan], [np.inf], [-np.inf], [np.nan, np.inf, -np.inf]])
def test_floats_that_are_no_numbers_do_no_harm(odd):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    values[0, : len(odd)] = odd
    shown = np.asarray(to_rgb(Image.fromarray(values)))[..., 0]
    assert shown[-1, -1] == 255
    assert (np.diff(shown[1:].ravel().astype(int)) >= 0).all()
    for same in (np.full((8, 8), 5, np.float32), np.full((8, 8), odd[0], np.float32)):
        assert (np.asarray(to_rgb(Image.fromarray(same))) == 0).all()


def test_a_files_pixels_are_not_shared(rng):
    with Image.open(io.BytesIO(encode(draw(rng), "PNG"))) as image:
        image.load()
        rgb = to_rgb(image)
        before = rgb.tobytes()
        image.paste((1, 2, 3), (0, 0, 48, 40))
    assert rgb.tobytes() == before


def png16(values: np.ndarray, transparent: tuple[int, ...]) -> bytes:
    """A 16-bit PNG, grey or RGB, of which one colour is transparent."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colour_key = struct.pack(f">{len(transparent)}H", *transparent)
    body = (
        chunk(b"IHDR", header) + chunk(b"tRNS", colour_key) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_the_transparent_colour_of_a_16_bit_png():
    grey = np.full((40, 40), 20_000, np.uint16)
    grey[:20] = 20_001
    shown = np.asarray(decode(png16(grey, (20_001,)), Limits()).image)
    assert (shown[:20] == 255).all()
    assert (shown[20:] == 20_000 >> 8).all()
    coloured = np.dstack([grey, grey // 2, grey // 3])
    shown = np.asarray(decode(png16(coloured, (0x1234, 0x0102, 3)), Limits()).image)
    assert (shown == (coloured >> 8)).all()
