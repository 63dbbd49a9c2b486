"""Exports a trained backbone as a weights file, with the recipe that made it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.core import files, paths
from pipeline.core.errors import UserError
from pipeline.model import backbone, network


def export_backbone(model_file: Path, out: Path, recipe: Mapping[str, Any]) -> Path:
    """Write the backbone of a saved classifier to `out` (*.weights.h5), and `recipe` beside it as YAML.

    Returns the recipe's path.

    Raises:
        UserError: `out` has another ending, or the model does not exist or has no backbone of Keras.

    """
    if not out.name.endswith(".weights.h5"):
        raise UserError(f"{out}: Keras weights files end in .weights.h5. Choose such a name.")
    joined = model_file.with_name(paths.ONNX_FILE)
    if joined.is_file() and not model_file.is_file():
        raise UserError(f"{joined} was made from a features file, whose backbone lies in that file: nothing to export.")
    if not model_file.is_file():
        raise UserError(files.missing_message(model_file))
    base = network.load(model_file).get_layer(backbone.NAME)
    save_weights(base, out)
    described = out.with_name(out.name.removesuffix(".weights.h5") + ".yaml")
    with files.atomic(described) as temporary:
        temporary.write_text(yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return described


def save_weights(model: Any, out: Path) -> None:
    """Write a model's weights to `out` (*.weights.h5), whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name.removesuffix('.weights.h5')}.tmp.weights.h5")
    try:
        model.save_weights(temporary)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
