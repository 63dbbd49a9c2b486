"""The epoch loop: fit, validate, report, and keep the best epoch."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

BEST_BY = "val_macro_recall"

Report = Callable[[int, Mapping[str, float]], None]


def compile_model(model: Any, rate: Any, optimizer: str, momentum: float) -> None:
    """Compile for integer labels; `rate` is a number or a schedule by step."""
    chosen = keras.optimizers.Adam(rate) if optimizer == "adam" else keras.optimizers.SGD(rate, momentum=momentum)
    model.compile(optimizer=chosen, loss=keras.losses.SparseCategoricalCrossentropy(), jit_compile=False)


def fit(
    model: Any,
    epochs: int,
    training: Callable[[int], Any],
    validate: Callable[[Any], Mapping[str, float]],
    report: Report,
    *,
    name: str,
) -> dict[str, float]:
    """Train in place for `epochs`, and leave the weights of the best epoch by `val_macro_recall` in the model.

    Args:
        model: compiled.
        epochs: how many.
        training: epoch number (from 0) to its tf.data.Dataset of (input, label) batches.
        validate: model to its metrics on the validation set; must have `val_macro_recall` and `val_loss`.
        report: called after every epoch with its number and all its metrics.
        name: of the progress bar.

    Returns the best epoch's metrics, with `epoch`.

    """
    best: dict[str, float] = {}
    weights: list[np.ndarray] = []
    with tqdm(desc=name, total=epochs, unit="epoch", disable=None) as bar:
        for epoch in range(epochs):
            history = model.fit(
                training(epoch), epochs=epoch + 1, initial_epoch=epoch, shuffle=False, verbose=0
            ).history
            metrics = {"loss": float(history["loss"][-1]), "learning_rate": _rate(model), **validate(model)}
            report(epoch, metrics)
            if not best or _rank(metrics) > _rank(best):
                best, weights = {**metrics, "epoch": float(epoch)}, model.get_weights()
            bar.set_postfix(loss=f"{metrics['loss']:.3f}", macro_recall=f"{metrics[BEST_BY]:.3f}")
            bar.update()
    model.set_weights(weights)
    return best


def _rank(metrics: Mapping[str, float]) -> tuple[float, float]:
    return metrics[BEST_BY], -metrics["val_loss"]


def _rate(model: Any) -> float:
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
