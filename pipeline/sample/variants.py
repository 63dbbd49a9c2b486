"""Variants as a scrape has them: near copies, unusual but valid formats, placeholders, files that are no picture."""

import functools
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

Rng = np.random.Generator


def encode(image: Image.Image, file_format: str = "JPEG", **options: object) -> bytes:
    """Return `image` as the bytes of a file; `options` are Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


# Near copies: changes that people and sites make to a picture before they share it.


def near_copy(source: bytes, transform: str, rng: Rng) -> bytes:
    """Return the JPEG `source` after a transform of `NEAR`, as JPEG of quality 70 to 90 (`recompressed`: 35 to 59)."""
    image = Image.open(io.BytesIO(source)).convert("RGB")
    if transform == "recompressed":
        return encode(image, quality=int(rng.integers(35, 60)))
    return encode(_TRANSFORMS[transform](image, rng), quality=int(rng.integers(70, 91)))


def _resized(low: float, high: float) -> Callable[[Image.Image, Rng], Image.Image]:
    def resize(image: Image.Image, rng: Rng) -> Image.Image:
        factor = rng.uniform(low, high)
        return image.resize((round(factor * image.width), round(factor * image.height)), Image.Resampling.BICUBIC)

    return resize


def _cropped(image: Image.Image, rng: Rng) -> Image.Image:
    left, top = (int(share * side) for share, side in zip(rng.uniform(0.0, 0.05, 2), image.size, strict=True))
    return image.crop((left, top, left + int(0.95 * image.width), top + int(0.95 * image.height)))


def _bordered(image: Image.Image, rng: Rng) -> Image.Image:
    return ImageOps.expand(image, border=int(rng.integers(3, 9)), fill=("black", "white")[rng.integers(2)])


def _tinted(image: Image.Image, rng: Rng) -> Image.Image:
    return Image.blend(image, Image.new("RGB", image.size, tuple(rng.integers(0, 256, 3).tolist())), 0.12)


def _captioned(image: Image.Image, _: Rng) -> Image.Image:
    strip = image.copy()
    ImageDraw.Draw(strip).text((4, image.height - 14), "example.org", "white", stroke_fill="black", stroke_width=1)
    return strip


_TRANSFORMS: dict[str, Callable[[Image.Image, Rng], Image.Image]] = {
    "shrunk": _resized(0.6, 0.9),
    "enlarged": _resized(1.1, 1.3),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "cropped": _cropped,
    "bordered": _bordered,
    "greyscale": lambda image, _: ImageOps.grayscale(image).convert("RGB"),
    "brightened": lambda image, rng: ImageEnhance.Brightness(image).enhance(rng.uniform(1.1, 1.3)),
    "tinted": _tinted,
    "captioned": _captioned,
}
NEAR = ("recompressed", *_TRANSFORMS)


# Unusual but valid formats, which a careless decoder fails on.


def _grey16(image: Image.Image) -> bytes:
    return encode(Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 257), "PNG")


def _rgba(image: Image.Image) -> bytes:
    faded = image.convert("RGBA")
    faded.putalpha(Image.linear_gradient("L").point(lambda value: 128 + value // 2).resize(image.size))
    return encode(faded, "PNG")


def _animated(file_format: str) -> Callable[[Image.Image], bytes]:
    def animate(image: Image.Image) -> bytes:
        frames = [ImageEnhance.Brightness(image).enhance(factor) for factor in (1.0, 0.8, 0.6)]
        return encode(frames[0], file_format, save_all=True, append_images=frames[1:], duration=200, loop=0)

    return animate


def _exif_rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees clockwise to display
    return encode(image.transpose(Image.Transpose.ROTATE_90), quality=85, exif=exif)


def _plain(image: Image.Image) -> bytes:
    return encode(image, quality=85)


# Name of the variant -> ending of its file name (a whole name if it does not start with a dot), and its bytes.
UNUSUAL: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "cmyk": (".jpg", lambda image: encode(image.convert("CMYK"), quality=80)),
    "grey16": (".png", _grey16),
    "rgba": (".png", _rgba),
    "palette": (".png", lambda image: encode(image.quantize(64), "PNG")),
    "animated gif": (".gif", _animated("GIF")),
    "animated webp": (".webp", _animated("WEBP")),
    "exif rotated": (".jpg", _exif_rotated),
    "progressive": (".jpg", lambda image: encode(image, quality=85, progressive=True)),
    "png named jpg": (".jpg", lambda image: encode(image.quantize(64), "PNG")),
    "no extension": ("", _plain),
    "upper case": ("UPPER.JPEG", _plain),
    "unicode and quotes": ("Ünï “cødé” 'and' \"quotes\" 図.jpg", _plain),
    "newline": ("two\nlines.jpg", _plain),
    "markup": ("comma, semi; <b>tag<.b>.jpg", _plain),
    "long name": ("long" * 49 + ".jpg", _plain),
}


# Broken files, which a scrape has in place of pictures.


@functools.cache
def _bomb(side: int = 30_000) -> bytes:
    """Return a valid 1-bit PNG of `side` x `side` black pixels: 0.1 MB, but 900 megapixels when decoded."""
    packer, row = zlib.compressobj(9), bytes(1 + (side + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


_HTML = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200"><circle cx="99" cy="99" r="80"/></svg>\n'

# Name of the fault -> ending of the file name, and the bytes, made from a valid JPEG.
BROKEN: dict[str, tuple[str, Callable[[bytes, Rng], bytes]]] = {
    "empty": (".jpg", lambda _, __: b""),
    "truncated": (".jpg", lambda sound, rng: sound[: int(rng.uniform(0.3, 0.7) * len(sound))]),
    "header only": (".jpg", lambda sound, _: sound[: sound.index(b"\xff\xda")]),
    "html": (".jpg", lambda _, __: _HTML),
    "noise": (".jpg", lambda _, rng: rng.bytes(int(rng.integers(2_000, 6_000)))),
    "svg": (".svg", lambda _, __: _SVG),
    "bomb": (".png", lambda _, __: _bomb()),
    "pixel": (".gif", lambda _, __: encode(Image.new("RGB", (1, 1), "white"), "GIF")),
    "sliver": (".jpg", lambda _, __: encode(Image.linear_gradient("L").resize((4000, 2)), quality=85)),
    "mp4": (".mp4", lambda _, rng: b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + rng.bytes(2_000)),
    "text": (".txt", lambda _, __: b"Thumbs.db and other leftovers; not a picture.\n"),
}


def placeholder(quality: int) -> bytes:
    """Return the picture that a host serves in place of a deleted one; it is valid, and of no class."""
    image = Image.new("RGB", (160, 120), (204, 204, 204))
    pen = ImageDraw.Draw(image)
    pen.rectangle((52, 20, 108, 62), outline=(120, 120, 120), width=3)
    pen.line((56, 58, 74, 40, 84, 50, 94, 36, 104, 58), fill=(120, 120, 120), width=3)
    pen.multiline_text(
        (80, 90),
        "image no longer\navailable",
        (90, 90, 90),
        font=ImageFont.load_default(15),
        anchor="mm",
        align="center",
    )
    return encode(image, quality=quality)
