"""What people's decisions changed: the test set under the labels as scraped, beside the same one as decided."""

from collections.abc import Mapping
from typing import Any

from pipeline.core import paths

SIDES = ("raw", "cleaned")
NAMES = {"raw": "labels as scraped", "cleaned": "labels as decided"}
_COUNTS = ("changed", "relabelled", "confirmed", "dropped", "unsure", "escalated")
_RECALLS = {"accuracy": "accuracy", "macro_recall": "macro recall", "unsafe_recall": "unsafe recall"}


def labels(figures: Mapping[str, Any]) -> str:
    """Return what the labels of the test set are called. `figures`: `decisions` of summary.collect, as below."""
    return NAMES["cleaned" if figures["pictures"] else "raw"]


def counts(figures: Mapping[str, Any]) -> str:
    """Return the numbers of decisions by what they do."""
    numbers = [(figures["cleaned"].get(name, 0), name) for name in _COUNTS]
    words = {"changed": "relabelled or resolved", "relabelled": "of these in the test set"}
    texts = [f"{number:,} {words.get(name, name)}" for number, name in numbers if number]
    return ", ".join(texts) or "none with an effect"


def rows(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows of a figure's name, and its values under the raw and the decided labels; [] without decisions."""
    if not figures["pictures"]:
        return []
    raw, cleaned = (figures[side] for side in SIDES)
    shown = [("pictures", f"{raw['pictures']:,}", f"{cleaned['pictures']:,}")]
    return shown + [(name, _percent(raw[key]), _percent(cleaned[key])) for key, name in _RECALLS.items()]


def lines(figures: Mapping[str, Any]) -> list[str]:
    """Return the lines of `nsfw summary`."""
    table = rows(figures)
    if not table:
        return []
    escalated = figures["escalated"]
    named = f"{escalated:,} picture{'s' * (escalated != 1)}"
    handed = f"escalated  {named}, for someone to handle: {paths.ESCALATIONS}"
    return [
        f"decisions  on {figures['pictures']:,} pictures: {counts(figures)}",
        f"           {'the fine-tuned model, test set':<34}{'as scraped':>12}{'as decided':>12}",
        *(f"             {name:<32}{before:>12}{after:>12}" for name, before, after in table),
        *([handed] if escalated else []),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
