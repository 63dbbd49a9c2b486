"""Recall and false positives by slice over versions, with intervals, in the style of `evaluation.plots`."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.evaluation.plots import CLASS_COLOURS, MARKERS

_WIDTH, _HEIGHT = 5.2, 4.4  # inches of one panel
_SPREAD = 0.06  # between the whiskers of two slices at one version
_LONGEST = 28  # characters of a slice's name in the legend


def over_versions_figure(rows: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """Draw `promotion.slice_history.collect`'s rows: a panel for each figure, a line for each slice."""
    versions = list(dict.fromkeys(row["version"] for row in rows))
    names = list(dict.fromkeys((row["family"], row["slice"]) for row in rows))
    figure = Figure(figsize=(2 * _WIDTH, _HEIGHT + 0.24 * ((len(names) + 2) // 3)), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, key, label in zip(
        panels, ("unsafe_recall", "false_positive_rate"), ("recall of unsafe pictures", "false positives"), strict=True
    ):
        _panel(axes, rows, key, names, versions)
        axes.set(xlabel="version", ylabel=label, ylim=(-0.02, 1.02))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(axis="y", alpha=0.3)
        axes.set_xticks(range(len(versions)), versions)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    return figure


def _panel(
    axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, names: Sequence[tuple[str, str]], versions: Sequence[str]
) -> None:
    for number, name in enumerate(names):
        known = {row["version"]: row for row in rows if (row["family"], row["slice"]) == name and row[key] is not None}
        shown = [version for version in versions if version in known]
        at = [versions.index(version) + _SPREAD * (number - (len(names) - 1) / 2) for version in shown]
        values = [known[version][key] for version in shown]
        limits = [known[version][f"{key}_interval"] for version in shown]
        errors = [
            [value - low for value, (low, _) in zip(values, limits, strict=True)],
            [high - value for value, (_, high) in zip(values, limits, strict=True)],
        ]
        axes.errorbar(
            at,
            values,
            yerr=errors,
            capsize=3,
            linewidth=1.2,
            label=_label(*name),
            color=CLASS_COLOURS[number % len(CLASS_COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
        )


def _label(family: str, name: str) -> str:
    text = f"{family}: {name}"
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return shown.replace("$", r"\$")  # no formula
