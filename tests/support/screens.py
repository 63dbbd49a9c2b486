"""Lists, hooks and screens for tests, and pictures with enough detail to be matched."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pdqhash
import yaml
from PIL import Image

from pipeline.core import paths
from pipeline.images.sandbox import WorkerLimits
from pipeline.params.root import load_params
from pipeline.screening.screens import Screens, open_screens

COST = WorkerLimits(seconds=10.0, memory_mb=1024)
CONTACT = "Ada, +1 555 0100"


def detailed(number: int, size: tuple[int, int] = (320, 256)) -> Image.Image:
    """A picture of many blobs, another for each number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def jpeg_of(image: Image.Image, quality: int = 92, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def encoded_small(number: int) -> bytes:
    """A PNG of 96 x 80 px."""
    buffer = io.BytesIO()
    detailed(number, (96, 80)).save(buffer, "PNG")
    return buffer.getvalue()


def copies(image: Image.Image) -> dict[str, bytes]:
    """What people make of a picture that is on a list."""
    width, height = image.size
    edge = max(1, round(width * 0.01)), max(1, round(height * 0.01))
    return {
        "again": jpeg_of(image, 60),
        "cropped": jpeg_of(image.crop((*edge, width - edge[0], height - edge[1]))),
        "resized": jpeg_of(image.resize((width * 7 // 10, height * 7 // 10), Image.Resampling.LANCZOS)),
    }


def meta_hash(image: Image.Image) -> str:
    """The hash by Meta's own arithmetic, as a line of a list has it."""
    bits, _ = pdqhash.compute(np.asarray(image.convert("RGB")))
    return np.packbits(bits).tobytes().hex()


def configure(lists: Mapping[str, tuple[str, str]] = {}, **more: object) -> None:
    """Write `ingest.screens` into params.yaml of the working directory; `lists`: kind and text of each file by name."""
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    rows = []
    for name, (kind, text) in lists.items():
        Path(f"{name}.txt").write_text(text, encoding="utf-8")
        rows.append({"name": name, "file": f"{name}.txt", "kind": kind})
    document["ingest"]["screens"] |= {"contact": CONTACT, "lists": rows, "hook_seconds": 5.0, **more}
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def opened(*, patient: bool = False) -> Screens:
    screens = open_screens(load_params(), cost=COST, patient=patient)
    assert screens is not None
    return screens


def command(code: str) -> list[str]:
    """A hook's command that runs Python code, with the picture's bytes on its standard input."""
    return [sys.executable, "-S", "-c", code]


def python_hook(code: str, name: str = "photo") -> dict[str, object]:
    return {"name": name, "command": command(code)}


ANSWERS_BY_SIZE = (
    "import sys, json; data = sys.stdin.buffer.read(); print(json.dumps({'match': b'EVIL' in data, 'entry': 'case 7'}))"
)
