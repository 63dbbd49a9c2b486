"""What people's decisions brought: the last version and the one before it, both under the labels as decided."""

from collections.abc import Mapping
from typing import Any

from pipeline.tracking import optional

_SHOWN = ("unsafe recall", "macro recall")


def collect(model: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return `before`, `after` (versions), `confidence` and `recall` rows of `comparison.compare`.

    None where there is no version before it, or MLflow does not answer, or the two cannot be compared.
    """
    if model["pending"] or int(model["version"]) < 2:
        return None

    def read() -> dict[str, Any]:
        from pipeline.params.root import load_params
        from pipeline.promotion import comparison

        version = int(model["version"])
        report = comparison.compare(load_params(), str(version - 1), str(version))
        shown = [row for row in report["recall"] if row["figure"] in _SHOWN]
        return {key: report[key] for key in ("before", "after", "confidence")} | {"recall": shown}

    return optional.if_it_answers(read)


def rows(gain: Mapping[str, Any] | None) -> list[tuple[str, str, str, str]]:
    """Return rows of a figure, its value before and after, and the interval of its change in points."""
    listed = [] if gain is None else gain["recall"]
    return [
        (row["figure"], f"{100 * row['before']:.1f} %", f"{100 * row['after']:.1f} %", _points(*row["interval"]))
        for row in listed
    ]


def title(gain: Mapping[str, Any]) -> str:
    """Return what the rows compare."""
    return f"version {gain['before']} -> {gain['after']}, both under the labels as decided"


def lines(gain: Mapping[str, Any] | None) -> list[str]:
    """Return the lines of `nsfw summary`."""
    if gain is None:
        return []
    versions = f"version {gain['before']}", f"version {gain['after']}"
    interval = f"change, {100 * gain['confidence']:g} %"
    return [
        f"gain       {'both under the labels as decided':<34}{versions[0]:>12}{versions[1]:>12}   {interval}",
        *(f"             {name:<32}{before:>12}{after:>12}   {change}" for name, before, after, change in rows(gain)),
        f"             more: nsfw compare {gain['before']} {gain['after']}",
    ]


def _points(low: float, high: float) -> str:
    return f"{100 * low:+.1f} to {100 * high:+.1f} points"
