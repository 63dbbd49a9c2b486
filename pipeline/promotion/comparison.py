"""Two versions side by side, on the same test pictures: recall with paired intervals, and what changed sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.core.errors import UserError
from pipeline.evaluation.paired_comparison import differences
from pipeline.evaluation.rollups import ALL_UNSAFE
from pipeline.promotion import agreement, judging
from pipeline.promotion.judging import IncomparableError, Sides
from pipeline.registry import state
from pipeline.registry.evidence_store import Dossier, DoubtfulError
from pipeline.tracking import server

if TYPE_CHECKING:
    from pipeline.params.root import Params

MOVED = ("sha256", "label", "side", "said_before", "said_after", "unsafe_before", "unsafe_after")
_WIDTH = 8  # of a column
SHOWN = 20  # pictures that changed sides, on a terminal


def compare(params: Params, before: str, after: str, rescore: judging.Rescore | None = None) -> dict[str, Any]:
    """Return both versions' figures on the test pictures of `after`, and the pictures that changed sides.

    A side is what the likeliest class says; `other` tells what each version's own threshold flags, as shares and in
    pictures of 100,000 at `evaluate.prevalence`.
    `recall`: rows of figure, before, after, change, interval, pictures. `moved`: rows of sha256, label, side (what
    became of it), said_before, said_after, unsafe_before, unsafe_after (probabilities), the gravest first.

    Raises:
        UserError: there is no such version, or the two cannot be compared.
        Unreachable: the server does not answer.

    """
    with server.session() as client:
        agreement.check(client, params.register_, before, after)
        now = state.read(client, params.register_)
        versions = [state.resolve(now, asked, params.register_) for asked in (before, after)]
        dossiers = [judging.dossier(client, now.model, version) for version in versions]
    warnings = now.findings()
    try:
        left, right = (_trusted(found) for found in dossiers)
        both = judging.sides(left, right, rescore)
    except (DoubtfulError, IncomparableError) as error:
        raise UserError("\n".join([str(error), *(f"WARNING: {each}" for each in warnings)])) from None
    unsafe = list(right.document["unsafe"])
    return {
        "model": now.model,
        "before": versions[0],
        "after": versions[1],
        "findings": warnings,
        "confidence": params.evaluate.confidence,
        "recall": _rows(both, unsafe, params),
        "other": _others(left, right),
        "moved": moved(both, unsafe).to_dict("records"),
    }


def moved(both: Sides, unsafe: list[str]) -> pd.DataFrame:
    """Return the pictures that one model calls unsafe and the other does not; newly missed unsafe ones come first."""
    before, after, labels = both.arrays()
    members = np.array([name in unsafe for name in both.names])
    said = before.argmax(axis=1), after.argmax(axis=1)
    flagged = members[said[0]], members[said[1]]
    truth = members[labels]
    sides = np.select(
        [truth & flagged[0], truth & flagged[1], ~truth & flagged[1]],
        ["newly missed", "newly caught", "newly withheld"],
        default="newly let through",
    )
    frame = pd.DataFrame(
        {
            "sha256": both.frame["sha256"],
            "label": both.frame["label"],
            "side": sides,
            "said_before": [both.names[index] for index in said[0]],
            "said_after": [both.names[index] for index in said[1]],
            "unsafe_before": before[:, members].sum(axis=1).round(4),
            "unsafe_after": after[:, members].sum(axis=1).round(4),
        }
    )
    order = {"newly missed": 0, "newly withheld": 1, "newly caught": 2, "newly let through": 3}
    changed = frame[flagged[0] != flagged[1]]
    ordered: pd.DataFrame = changed.assign(order=changed["side"].map(order)).sort_values(["order", "sha256"])
    return ordered.drop(columns="order")


def lines(found: dict[str, Any]) -> list[str]:
    """Return a comparison for a terminal."""
    percent = f"{100 * found['confidence']:g} %"
    text = [f"WARNING: {finding}" for finding in found["findings"]]
    text.append(f"{found['model']}: version {found['before']} -> {found['after']}, on the same test pictures")
    text.append(f"  {'':<22}{'before':>8}{'after':>8}{'change':>8}   paired {percent} interval   pictures")
    for row in found["recall"]:
        low, high = row["interval"]
        text.append(
            f"  {row['figure']:<22}{100 * row['before']:>7.1f} {100 * row['after']:>7.1f} {_points(row['change']):>7} "
            f"  {_points(low)} to {_points(high)}".ljust(78)
            + str(row["pictures"])
        )
    text += [f"  {row['figure']:<22}{_number(row['before'])}{_number(row['after'])}" for row in found["other"]]
    counts = pd.Series([row["side"] for row in found["moved"]], dtype="str").value_counts().sort_index()
    told = ", ".join(f"{count} {side}" for side, count in counts.items()) or "none"
    text.append(f"pictures whose likeliest class changed sides: {told}")
    for row in found["moved"][:SHOWN]:
        text.append(
            f"  {row['side']:<18} {row['sha256'][:16]}  {row['label']}: {row['said_before']} -> {row['said_after']}, "
            f"unsafe {row['unsafe_before']:.2f} -> {row['unsafe_after']:.2f}"
        )
    if len(found["moved"]) > SHOWN:
        text.append(f"  and {len(found['moved']) - SHOWN} more: --json, or --out FILE.csv")
    return text


def _trusted(found: Dossier | DoubtfulError | None) -> Dossier:
    if isinstance(found, Dossier):
        return found
    raise found or DoubtfulError("no evidence")


def _rows(both: Sides, unsafe: list[str], params: Params) -> list[dict[str, Any]]:
    found = differences(*both.arrays(), both.names, unsafe, resamples=params.evaluate.resamples, seed=params.seed)
    first = [name for name in ("unsafe_recall", "macro_recall") if name in found]
    return [
        {
            "figure": name.replace("_", " ").replace("/", " "),
            "before": each.before,
            "after": each.after,
            "change": each.change,
            "interval": each.interval(params.evaluate.confidence),
            "pictures": each.pictures,
        }
        for name in [*first, *sorted(name for name in found if name not in first)]
        for each in [found[name]]
    ]


def _others(left: Dossier, right: Dossier) -> list[dict[str, Any]]:
    def figures(dossier: Dossier) -> dict[str, float | None]:
        document, speed = dossier.document, dossier.facts.get("speed") or {}
        point = (document.get("operating_points") or {}).get(ALL_UNSAFE) or {}
        return {
            "threshold": point.get("threshold"),
            "flagged, of unsafe": point.get("recall"),
            "flagged, of safe": point.get("false_positive_rate"),
            "review, of 100,000": (point.get("at_prevalence") or {}).get("flagged_per_100000"),
            "calibration error": document["calibration"]["ece_after"],
            "worst distortion": (document["robustness"]["worst"] or {}).get("unsafe_recall"),
            "p95 ms a picture": speed.get("p95_ms"),
            "size, MB": dossier.facts.get("size_mb"),
        }

    before, after = figures(left), figures(right)
    return [{"figure": name, "before": before[name], "after": after[name]} for name in before]


def _number(value: float | None) -> str:
    shown = "-" if value is None else (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}")
    return f"{shown if len(shown) < _WIDTH else f'{value:.2g}':>{_WIDTH}}"


def _points(share: float) -> str:
    """Return a difference in percentage points, and nought without a sign of its own."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"
