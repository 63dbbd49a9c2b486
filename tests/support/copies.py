"""Pictures with enough detail to be distinguished, copies as in a scrape, and a project that contains them."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from pipeline.core import paths
from pipeline.data import annotation_files, folder
from pipeline.stages import catalog, dedupe
from tests.support.pictures import LABELS, encode

SIZE = (200, 160)


def scene(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture with coarse and fine structure, as photographs have."""
    rng = np.random.default_rng([7, seed])
    coarse = [Image.fromarray(rng.integers(0, 256, (n, n + 1, 3), dtype=np.uint8)) for n in (3, 7, 16, 40)]
    layers = [np.asarray(layer.resize(size, Image.Resampling.BICUBIC)) for layer in coarse]
    pixels = np.tensordot([0.4, 0.3, 0.2, 0.1], np.stack(layers).astype(np.float64), 1)
    return Image.fromarray(np.clip((pixels - 128) * 1.6 + 128, 0, 255).astype(np.uint8))


def crop(image: Image.Image, share: float = 0.08) -> Image.Image:
    width, height = image.size
    return image.crop((round(width * share), round(height * share / 2), width, height))


COPIES = {
    "jpeg": lambda image: encode(image, "JPEG", quality=50),
    "half": lambda image: encode(image.resize((image.width // 2, image.height // 2)), "PNG"),
    "large": lambda image: encode(image.resize((image.width * 3 // 2, image.height * 3 // 2)), "JPEG", quality=90),
    "crop": lambda image: encode(crop(image), "JPEG", quality=85),
    "mirror": lambda image: encode(ImageOps.mirror(image), "JPEG", quality=85),
    "border": lambda image: encode(ImageOps.expand(image, 8, (0, 0, 0)), "JPEG", quality=85),
    "bright": lambda image: encode(ImageEnhance.Brightness(image).enhance(1.2), "JPEG", quality=85),
}


SCREEN = (240, 400)


def app(photo: Image.Image, box: tuple[int, int, int, int] = (55, 110, 185, 200)) -> Image.Image:
    """An app's screen: bars, lines, and a photograph in `box`, 12 % of it."""
    screen = Image.new("RGB", SCREEN, (244, 245, 248))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 240, 36), fill=(38, 60, 120))
    for top in range(230, 390, 40):
        draw.ellipse((10, top, 30, top + 20), fill=(199, 91, 57))
        draw.rectangle((45, top + 4, 220, top + 9), fill=(168, 168, 176))
    screen.paste(photo.resize((box[2] - box[0], box[3] - box[1])), box)
    return screen


def phone(photo: Image.Image, ground: int) -> Image.Image:
    """A screen with a clock, and a button: the photograph lies between plain rows."""
    screen = Image.new("RGB", (photo.width, photo.width * 2), (ground,) * 3)
    draw = ImageDraw.Draw(screen)
    draw.text((10, 3), "12:07", fill=(255 - ground,) * 3)
    draw.ellipse((photo.width // 2 - 8, 2 * photo.width - 20, photo.width // 2 + 8, 2 * photo.width - 4), fill="red")
    screen.paste(photo, (0, (screen.height - photo.height) // 2))
    return screen


def thumbnail(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((64, 64), Image.Resampling.BOX))


def ingest(pictures: dict[str, bytes], batch: str = "batch") -> None:
    """Ingest `label/name: bytes` into data/, and run the catalog stage; decisions and reports do not change."""
    root = Path(f"raw-{batch}")
    for name, data in pictures.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folder.ingest(folder.scan(root, LABELS), paths.DATA, batch)
    catalog.main()


def decide(*rows: tuple[str, str]) -> None:
    lines = [",".join(annotation_files.DECISIONS), *(f"{sha256},,{label},ann,,2026-01-02," for sha256, label in rows)]
    paths.DECISIONS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def report(*rows: tuple[str, str]) -> None:
    lines = [",".join(annotation_files.REPORTS), *(f"{sha256},{label},,T-1,2026-01-02" for sha256, label in rows)]
    paths.REPORTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def change(**values: object) -> None:
    """Change the `dedupe` section of params.yaml."""
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["dedupe"] |= values
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def outs() -> list[Path]:
    build = [paths.DEDUPED, paths.DUPLICATES, paths.CONFLICTS, paths.SET_ASIDE]
    return [*build, paths.DUPLICATES_REPORT, paths.METRICS / "dedupe.json"]


def run() -> dict[str, pd.DataFrame]:
    dedupe.main()
    parquet = {"deduped": paths.DEDUPED, "duplicates": paths.DUPLICATES}
    csv = {"conflicts": paths.CONFLICTS, "set_aside": paths.SET_ASIDE}
    read = {name: pd.read_csv(path, keep_default_na=False) for name, path in csv.items()}
    return {name: pd.read_parquet(path) for name, path in parquet.items()} | read
