"""Exports in tests about what is around a conversion: each model is converted into each format once."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.exporting import formats
from pipeline.exporting.formats import Format
from pipeline.exporting.graph import Source
from pipeline.exporting.onnx_quantization import Quantization


@pytest.fixture(scope="module")
def convert_once(tmp_path_factory) -> Callable[..., Path]:
    """Convert as `formats.convert` does, which takes seconds; the second time, copy the first one's file."""
    real, converted = formats.convert, {}

    def convert(kind: Format, source: Source, how: Quantization, folder: Path) -> Path:
        model = hashlib.sha256(source.model_file.read_bytes()).hexdigest()
        key = (kind, how, model, source.adapter, source.size, source.classes, source.temperature)
        if key not in converted:
            converted[key] = real(kind, source, how, tmp_path_factory.mktemp("converted"))
        copy = shutil.copytree if converted[key].is_dir() else shutil.copyfile
        return Path(copy(converted[key], folder / converted[key].name))

    return convert


@pytest.fixture
def conversions(convert_once, monkeypatch) -> None:
    """Let `export` convert once."""
    monkeypatch.setattr(formats, "convert", convert_once)
