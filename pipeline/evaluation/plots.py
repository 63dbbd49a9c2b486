"""Plots of a model's results, drawn on Figure objects (Agg) without pyplot's global state.

Colours are those of Okabe and Ito, and cividis, which are distinct with every colour vision and in grey. Equal input
gives equal bytes, so the PNGs can be DVC outputs.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipeline.core.files import atomic

BLUE, ORANGE = "#0072B2", "#E69F00"
CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def confusion_figure(
    counts: npt.NDArray[np.integer[Any]],
    names: Sequence[str],
    *,
    unsafe: Collection[str],
    title: str,
    rows: Sequence[str] | None = None,
) -> Figure:
    """Draw a confusion matrix (rows: true class): counts, and each cell's percentage of its row, as text and shade.

    Unsafe classes are marked with a star and in bold. `names`: of the columns, and of the `rows` if those are None.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    true = names if rows is None else rows
    figure, axes = _figure(2.4 + 1.05 * len(names) + 0.8, 2.4 + 1.05 * len(true))
    image = axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count}\n{shares[row, column]:.0%}" if totals[row, 0] else "-"
        shade = "black" if shares[row, column] > 0.5 else "white"
        axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=10)
    _class_ticks(axes, names, true, unsafe)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.04, format=PercentFormatter(1.0), label="of the true class")
    return figure


def recall_figure(
    frozen: Mapping[str, Any], finetuned: Mapping[str, Any], *, unsafe: Collection[str], title: str
) -> Figure:
    """Draw the recall of each class, frozen beside fine-tuned, with intervals; the last two bars are the macro recall.

    Takes two results of `pipeline.evaluation.recall.summary`. A class without pictures has no bar.
    """
    names = list(finetuned["recall"])
    figure, axes = _figure(3.0 + 1.1 * (len(names) + 1), 4.6)
    for offset, report, colour, hatch, label in (
        (-0.2, frozen, ORANGE, "//", "frozen"),
        (0.2, finetuned, BLUE, "", "fine-tuned"),
    ):
        values, errors = _bars(report, names)
        positions = np.arange(len(values)) + offset
        axes.bar(positions, values, width=0.38, color=colour, hatch=hatch, edgecolor="white", label=label)
        axes.errorbar(positions, values, yerr=errors, fmt="none", ecolor="black", capsize=4, linewidth=1)
    labels = [f"{name} *" if name in unsafe else name for name in names]
    axes.set_xticks(range(len(names) + 1), [*labels, "macro"])
    axes.set(ylim=(0.0, 1.02), ylabel="recall", title=title)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, title="* unsafe; whiskers: confidence interval")
    return figure


def curves_figure(epochs: Sequence[Mapping[str, float]], names: Sequence[str], *, title: str) -> Figure:
    """Draw loss, accuracy and macro recall, and recall of each class, over the epochs.

    `epochs` holds one mapping an epoch, in order, with the keys of `pipeline.evaluation.recall.epoch_metrics` and,
    where they were recorded, `loss` and `accuracy` of the training pictures. A key that an epoch lacks leaves a gap.
    """
    figure = Figure(figsize=(12.0, 4.2), dpi=120, layout="constrained")
    losses, shares, classes = figure.subplots(1, 3)
    _curve(losses, epochs, {"loss": "train", "val_loss": "validation"}, "loss")
    measures = {"accuracy": "train accuracy", "val_accuracy": "accuracy", "val_macro_recall": "macro recall"}
    _curve(shares, epochs, measures, "all classes")
    _curve(classes, epochs, {f"val_recall/{name}": name for name in names}, "recall by class, validation")
    for axes in (shares, classes):
        axes.set_ylim(0.0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.suptitle(title)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as a PNG, whole or not at all; without date and version: equal figures, equal bytes."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.subplots()


def _class_ticks(axes: Axes, names: Sequence[str], true: Sequence[str], unsafe: Collection[str]) -> None:
    columns, rows = ([f"{name} *" if name in unsafe else name for name in part] for part in (names, true))
    axes.set_xticks(range(len(names)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(true)), rows)
    for tick, name in zip([*axes.get_xticklabels(), *axes.get_yticklabels()], [*names, *true], strict=True):
        tick.set_fontweight("bold" if name in unsafe else "normal")
    axes.annotate("* unsafe", xy=(0, 0), xycoords="figure fraction", xytext=(6, 6), textcoords="offset points")


def _bars(report: Mapping[str, Any], names: Sequence[str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    values = [report["recall"][name] for name in names] + [report["macro_recall"]]
    limits = [report["recall_interval"][name] for name in names] + [report["macro_recall_interval"]]
    heights = np.array([np.nan if value is None else value for value in values])
    low, high = np.array([[np.nan, np.nan] if pair is None else pair for pair in limits]).T
    return heights, np.clip(np.stack([heights - low, high - heights]), 0.0, None)


def _curve(axes: Axes, epochs: Sequence[Mapping[str, float]], series: Mapping[str, str], title: str) -> None:
    epoch_numbers = np.arange(1, len(epochs) + 1)
    for index, (key, label) in enumerate(series.items()):
        values = np.array([epoch.get(key, np.nan) for epoch in epochs], dtype=float)
        if not np.isnan(values).all():
            colour, marker = CLASS_COLOURS[index % len(CLASS_COLOURS)], MARKERS[index % len(MARKERS)]
            axes.plot(epoch_numbers, values, color=colour, marker=marker, markersize=4, label=label)
    axes.set(xlabel="epoch", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
