"""What `nsfw monitor` reports: a document, lines for a terminal, metrics, and a page that needs no network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.monitoring.drift import ALL, CLASSES, DECISIONS, SCORE, UNREADABLE, Comparison
from pipeline.monitoring.scores import Window
from pipeline.pages import static, templating
from pipeline.params.monitor import Monitor

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_LINES = 20  # differences that are put into words
_MOST_SLICES = 50  # of a window on the page


@dataclass(frozen=True)
class Monitored:
    """A reference, its windows in the order in which they were given, and each one's comparisons."""

    reference: Window
    windows: Sequence[Window]
    comparisons: Sequence[Sequence[Comparison]]
    limits: Monitor

    @property
    def drifted(self) -> list[tuple[Window, Comparison]]:
        """Every difference that is drift."""
        pairs = zip(self.windows, self.comparisons, strict=True)
        return [(window, row) for window, rows in pairs for row in rows if row.drifted]

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "reference": _sizes(self.reference),
            "windows": [
                _sizes(window) | {"comparisons": [asdict(row) for row in rows]}
                for window, rows in zip(self.windows, self.comparisons, strict=True)
            ],
            "limits": self.limits.model_dump(),
            "drifted": len(self.drifted),
        }

    def lines(self) -> list[str]:
        """Return it for a terminal: the sizes, and what has drifted."""
        rows = [f"reference {_size_line(self.reference)}", *(f"window    {_size_line(one)}" for one in self.windows)]
        drifted = self.drifted
        if not drifted:
            untested = not any(row.p is not None for rows in self.comparisons for row in rows)
            few = f"nothing was judged: a window or the reference has under {self.limits.min_pictures} pictures"
            return [*rows, few if untested else "no drift"]
        rows += [f"DRIFT  {window.name}: {describe(row)}" for window, row in drifted[:_MOST_LINES]]
        return rows + [f"... and {len(drifted) - _MOST_LINES} more: --json has all"] * (len(drifted) > _MOST_LINES)

    def metrics(self, number: int) -> dict[str, float]:
        """Return the figures of window `number`, of all its pictures, for MLflow."""
        rows = {row.figure: row for row in self.comparisons[number] if row.slice == ALL}
        values = {f"psi/{figure}": row.psi for figure, row in rows.items()}
        if DECISIONS in rows:
            values["unsafe_decisions"] = rows[DECISIONS].window
        scored = len(self.windows[number].scored)
        values["mean_unsafe"] = rows[SCORE].window
        values["unreadable"] = 1 - scored / len(self.windows[number].contents)
        return values | {
            "drifted": float(sum(row.drifted for row in self.comparisons[number])),
            "pictures": float(scored),
        }

    def page(self) -> str:
        """Return the page."""
        pairs = list(zip(self.windows, self.comparisons, strict=True))
        return static.render(
            templating.environment(_TEMPLATES),
            "monitor.html",
            images=False,
            reference=self.reference,
            windows=[(window.name, len(window.scored), *_by_slice(rows)) for window, rows in pairs],
            drifted=[_in_words(window, rows) for window, rows in pairs if any(row.drifted for row in rows)],
            limits=self.limits,
        )


def describe(row: Comparison) -> str:
    """Return a difference in a line."""
    where = f" in {row.slice}" if row.slice else ""
    if row.figure in {CLASSES, UNREADABLE}:
        most = max(row.shares, key=lambda share: abs(share.window - share.reference))
        change = f"{most.name} {_percent(most.reference)} to {_percent(most.window)}"
    elif row.figure == DECISIONS:
        change = f"{_percent(row.reference)} to {_percent(row.window)}"
    else:
        change = f"mean {row.reference:.3f} to {row.window:.3f}"
    return f"{row.figure}{where}: {change} (stability index {row.psi:.2f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _sizes(window: Window) -> dict[str, Any]:
    return {
        "name": window.name,
        "path": str(window.path),
        "rows": window.rows,
        "contents": len(window.contents),
        "scored": len(window.scored),
        "models": list(window.models),
    }


def _size_line(window: Window) -> str:
    contents, scored = len(window.contents), len(window.scored)
    return f"{window.name}: {window.rows:,} rows, {contents:,} different contents, {scored:,} of them scored"


def _in_words(window: Window, rows: Sequence[Comparison]) -> tuple[str, list[str], int]:
    """Return a window's name, its first differences in words, and how many more there are."""
    texts = [describe(row) for row in rows if row.drifted]
    return window.name, texts[:_MOST_LINES], max(0, len(texts) - _MOST_LINES)


def _by_slice(rows: Sequence[Comparison]) -> tuple[list[tuple[str, list[Comparison]]], int]:
    """Return what the page shows of a window, and how many slices it leaves out.

    The comparisons of all pictures come first, then slices with drift, then the largest ones.
    """
    parts: dict[str, list[Comparison]] = {}
    for row in rows:
        parts.setdefault(row.slice, []).append(row)
    order = sorted(
        parts, key=lambda name: (name != ALL, not any(row.drifted for row in parts[name]), -parts[name][0].pictures[1])
    )
    shown = order[: 1 + _MOST_SLICES]
    return [(name, parts[name]) for name in shown], len(order) - len(shown)
