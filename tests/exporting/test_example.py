"""The program that docs/export.md shows is the one that is written, and it runs without this project and TensorFlow."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.exporting import example, formats
from pipeline.exporting.export import Job, export
from pipeline.images.limits import Limits
from pipeline.images.preprocessing import Preprocessor
from pipeline.params.root import load_params
from pipeline.registry.loading import open_model
from tests.support.conversions import conversions, convert_once
from tests.support.lossless import lossless_jpeg

__all__ = ["conversions", "convert_once"]  # fixtures

pytestmark = [pytest.mark.untraced, pytest.mark.usefixtures("conversions")]

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
ALONE = """
import runpy, sys
for name in ("tensorflow", "keras", "pipeline", "mlflow", "pandas"):
    sys.modules[name] = None  # importing it is an error
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def pictures(folder: Path) -> list[Path]:
    """One picture in every form that the decoder handles."""
    rng = np.random.default_rng(5)
    smooth = np.kron(rng.integers(0, 256, (6, 9, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    image = Image.fromarray(smooth)
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256)
    forms = {
        "plain.jpg": (image, "JPEG", {"quality": 92}),
        "turned.jpg": (image, "JPEG", {"exif": exif.tobytes()}),
        "cmyk.jpg": (image.convert("CMYK"), "JPEG", {}),
        "progressive.jpg": (image, "JPEG", {"progressive": True}),
        "grey16.png": (wide, "PNG", {}),
        "alpha.png": (Image.merge("RGBA", (*image.split(), image.convert("L"))), "PNG", {}),
        "palette.png": (image.quantize(16), "PNG", {"transparency": 0}),
        "moving.gif": (image.quantize(16), "GIF", {"save_all": True, "append_images": [image.rotate(90).quantize(16)]}),
        "moving.webp": (image, "WEBP", {"save_all": True, "append_images": [image.rotate(90)], "lossless": True}),
        "plain.bmp": (image, "BMP", {}),
        "plain.avif": (image, "AVIF", {}),
        "no extension\nat all": (image, "JPEG", {}),
    }
    for name, (picture, form, options) in forms.items():
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        (folder / name).write_bytes(buffer.getvalue())
    (folder / "lossless.jpg").write_bytes(lossless_jpeg(np.tile(smooth, (4, 4, 1))))
    return [folder / name for name in [*forms, "lossless.jpg"]]


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_the_docs_show_what_is_written():
    onnx, litert = blocks()
    assert onnx == example.text("onnx")
    assert litert in example.text("litert")
    assert "Interpreter" in litert
    assert len([line for line in onnx.splitlines() if line]) <= 43


@pytest.mark.parametrize("kind", [pytest.param("litert", marks=pytest.mark.rare), "onnx"])
def test_it_runs_alone_and_says_what_serves(kind, in_project, tmp_path):
    model = open_model(load_params(), "challenger")
    folder = export(model, load_params(), Job(kind, out=tmp_path / "x")).folder
    if kind == "onnx":
        (folder / example.FILE).write_text(blocks()[0], encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    files = pictures(tmp_path / "pictures")
    command = [sys.executable, "-I", "-c", ALONE, str(folder / example.FILE), *map(str, files)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    classifier = model.classifier()
    preprocessor = Preprocessor(Limits(), classifier.size)
    wanted = classifier.classify_frames([preprocessor.frames_from_bytes(file.read_bytes()) for file in files])
    assert [row["file"] for row in rows] == list(map(str, files))
    answers = np.array([[row[label] for label in classifier.labels] for row in rows])
    np.testing.assert_allclose(answers, wanted.probabilities, atol=1e-5)
    np.testing.assert_allclose([row["unsafe"] for row in rows], wanted.unsafe, atol=1e-5)
    assert [row["decision"] for row in rows] == wanted.decisions
    assert len(np.unique(np.round(answers, 6), axis=0)) > len(files) // 2  # or any output would do


def test_too_many_pixels_are_refused(in_project, tmp_path):
    folder = export(open_model(load_params(), "challenger"), load_params(), Job("litert", out=tmp_path / "x")).folder
    sidecar = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    (folder / "export.json").write_text(json.dumps(sidecar | {"max_pixels": 100}), encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    command = [sys.executable, "-I", str(folder / example.FILE), str(pictures(tmp_path / "pictures")[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "90 x 60 pixels are too many" in done.stderr


def test_it_needs_three_packages_pinned():
    for kind, runtime in formats.RUNTIMES.items():
        lines = example.requirements(kind).splitlines()
        assert [line.split("==")[0] for line in lines] == ["numpy", "pillow", runtime]
        assert all(re.fullmatch(r"[a-z-]+==\d[\w.]*", line) for line in lines)
