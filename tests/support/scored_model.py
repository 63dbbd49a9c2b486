"""A version as `mlflow artifacts download` leaves it, that answers in a way that a test can compute."""

import json
from pathlib import Path

from pipeline.serving.decision import Decision
from pipeline.tracking.lineage import digest

LABELS = ("drawings", "neutral", "porn")
DECISION = Decision(LABELS, ("porn",), 0.5, 0.34)


def save_model(folder: Path) -> Path:
    """Save a version whose output is the softmax of a picture's mean colour; return its folder."""
    import keras

    folder.mkdir(exist_ok=True)
    inputs = keras.Input((32, 32, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    keras.Model(inputs, keras.layers.Softmax()(means)).save(folder / "model.keras")
    limits = {"max_pixels": 10_000, "min_side": 8, "max_aspect": 10.0}
    spec = {"labels": LABELS, "unsafe": ["porn"], "size": 32, "adapter": None, "decision": DECISION.to_document()}
    spec |= {"limits": limits, "file": "model.keras", "model_sha256": digest(folder / "model.keras")}
    (folder / "model.json").write_text(json.dumps(spec), encoding="utf-8")
    return folder
