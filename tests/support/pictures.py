"""Small pictures and scrapes, drawn from numbers, for every test."""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("drawings", "hentai", "neutral", "porn", "sexy")
MTIME = 1_767_225_600  # 2026-01-01: a file's own time goes into its sighting


def draw(rng: np.random.Generator, size: tuple[int, int] = (48, 40), mode: str = "RGB") -> Image.Image:
    """Return a smooth, colourful picture, so that lossy formats keep it about as it is."""
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(rng: np.random.Generator, size: tuple[int, int] = (48, 40), **options: object) -> bytes:
    return encode(draw(rng, size), "JPEG", **options)


def png(rng: np.random.Generator, size: tuple[int, int] = (48, 40)) -> bytes:
    return encode(draw(rng, size), "PNG")


def scrape(folder: Path, contents: Mapping[str | bytes, bytes]) -> Path:
    """Write files below `folder`, each under its own time, and return the folder."""
    for number, (name, content) in enumerate(contents.items()):
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MTIME + number, MTIME + number))
    return folder


def sha(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder` with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
