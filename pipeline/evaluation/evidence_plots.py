"""Reliability diagrams and precision-recall curves of a model's evidence, in the style of `evaluation.plots`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.evaluation.plots import BLUE, CLASS_COLOURS, ORANGE
from pipeline.evaluation.recall import Floats, Integers

UNSAFE = "unsafe"  # the roll-up's name among the curves
_DASHES = ("-", "--", "-.", ":")


def precision_recall(
    probabilities: Floats,
    labels: Integers,
    names: Sequence[str],
    unsafe: Collection[str],
    known: Collection[str] | None = None,
) -> pd.DataFrame:
    """Return every curve's points: curve (`unsafe`, then each class), threshold, recall, precision (0..1).

    The score of `unsafe` is the sum of the unsafe classes' probabilities. A curve without pictures has no rows.
    `known`: the classes that have a curve, if not all of `names`.
    """
    drawn = {name for name in names if name != UNSAFE and (known is None or name in known)}
    members = np.array([name in unsafe for name in names])
    scored = {UNSAFE: (probabilities[:, members].sum(axis=1), members[labels])}
    scored |= {name: (probabilities[:, i], labels == i) for i, name in enumerate(names) if name in drawn}
    parts = [_curve(name, scores, truth) for name, (scores, truth) in scored.items() if truth.any()]
    columns = ["curve", "threshold", "recall", "precision"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def precision_recall_figure(curves: pd.DataFrame, *, title: str) -> Figure:
    """Draw `precision_recall`'s curves; that of all unsafe classes is thick and black."""
    figure, axes = _figure(7.0, 5.4)
    for number, (name, part) in enumerate(curves.groupby("curve", sort=False)):
        whole = name == UNSAFE
        colour = "black" if whole else CLASS_COLOURS[(number - 1) % (len(CLASS_COLOURS) - 1)]
        style = "-" if whole else _DASHES[number % len(_DASHES)]
        label = "unsafe, all classes" if whole else str(name)
        axes.plot(part["recall"], part["precision"], style, color=colour, linewidth=3 if whole else 1.6, label=label)
    axes.set(xlim=(0.0, 1.01), ylim=(0.0, 1.02), xlabel="recall", ylabel="precision", title=title)
    _percent(axes)
    if len(curves):
        axes.legend(loc="lower left")
    return figure


def reliability_figure(calibration: Mapping[str, Any], *, title: str) -> Figure:
    """Draw accuracy over confidence by bin, before and after the temperature, and how many pictures each bin has.

    Takes the result of `evaluation.calibration.report`. On the diagonal accuracy equals confidence.
    """
    figure = Figure(figsize=(10.0, 5.4), dpi=120, layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, height_ratios=(4, 1))
    for column, (stage, colour) in enumerate((("before", ORANGE), ("after", BLUE))):
        upper, lower = grid[0][column], grid[1][column]
        rows = [row for row in calibration["bins"][stage] if row["pictures"]]
        middles = [(row["low"] + row["high"]) / 2 for row in calibration["bins"][stage]]
        upper.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
        upper.plot(
            [row["confidence"] for row in rows], [row["accuracy"] for row in rows], "o-", color=colour, markersize=6
        )
        error = calibration[f"ece_{stage}"]
        known = "" if error is None else f", calibration error {error:.1%}"
        upper.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02), ylabel="accuracy", title=f"{stage} temperature scaling{known}")
        counts = [row["pictures"] for row in calibration["bins"][stage]]
        lower.bar(middles, counts, width=0.9 / len(counts), color=colour)
        lower.set(xlabel="confidence (the most probable class)", ylabel="pictures")
        upper.xaxis.set_major_formatter(PercentFormatter(1.0))
        upper.yaxis.set_major_formatter(PercentFormatter(1.0))
        upper.grid(alpha=0.3)
    figure.suptitle(title)
    return figure


def _curve(name: str, scores: Floats, truth: Any) -> pd.DataFrame:
    from sklearn.metrics import precision_recall_curve

    precision, recall, threshold = precision_recall_curve(truth, scores, drop_intermediate=True)
    return pd.DataFrame(
        {"curve": name, "threshold": threshold.astype(np.float64), "recall": recall[:-1], "precision": precision[:-1]}
    )


def _percent(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.subplots()
