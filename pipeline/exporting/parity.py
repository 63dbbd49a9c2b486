"""What an export costs: the registered model and its export compared on the same test pictures.

`before` and `after` are calibrated probabilities (n, classes) of the registered model and of its export; `truth` (n,)
are the indices of the pictures' classes in `match.names`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.evaluation.label_match import LabelMatch, matched_summary
from pipeline.params.export import Export
from pipeline.serving.decision import Decision

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]


def report(
    before: Floats, after: Floats, truth: Integers, match: LabelMatch, decision: Decision, confidence: float
) -> dict[str, Any]:
    """Return the cost, for JSON; shares are 0..1, or None if unknown.

    Keys: pictures, max_difference, mean_difference (of a probability); flips: pictures whose most probable class
    (`label`) or whose side of the threshold (`decision`; None without one) changes; recall: by class that the model
    has a label for, [before, after];
    unsafe_recall: unsafe pictures whose most probable class is unsafe, [before, after]; caught and flagged: unsafe
    and safe pictures at or above the threshold, [before, after] (None without one).

    Raises:
        UserError: there is no picture, or the export's answers are not finite.

    """
    if after.shape != before.shape or not np.isfinite(after).all():
        raise UserError("the export's answers are no probabilities (NaN, infinite, or of another shape). Not written.")
    difference = np.abs(after.astype(np.float64) - before.astype(np.float64))
    figures = [
        matched_summary(match.widen(probabilities), truth, match, confidence) for probabilities in (before, after)
    ]
    flips, caught, flagged = _at_threshold(before, after, match.members[truth], decision)
    return {
        "pictures": len(truth),
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "flips": {"label": int((before.argmax(axis=1) != after.argmax(axis=1)).sum()), "decision": flips},
        "recall": {name: [figure["recall"][name] for figure in figures] for name in match.common},
        "unsafe_recall": [figure["unsafe"]["recall"] for figure in figures],
        "caught": caught,
        "flagged": flagged,
    }


_Pair = list[float | None] | None


def _at_threshold(
    before: Floats, after: Floats, unsafe: npt.NDArray[np.bool_], decision: Decision
) -> tuple[int | None, _Pair, _Pair]:
    if decision.threshold is None:
        return None, None, None
    called = [decision.score(probabilities) >= decision.threshold for probabilities in (before, after)]
    flips = int((called[0] != called[1]).sum())
    return flips, [_share(one[unsafe]) for one in called], [_share(one[~unsafe]) for one in called]


def _share(called: npt.NDArray[np.bool_]) -> float | None:
    return float(called.mean()) if called.size else None


def failures(cost: dict[str, Any], limits: Export, *, quantized: bool) -> list[str]:
    """Return a sentence for each limit of params.yaml that is exceeded; [] if the export is as good as the model."""
    if not quantized:
        worst = cost["max_difference"]
        too_far = worst > limits.max_difference
        return [f"a probability differs by {worst:.2g}, limit {limits.max_difference:g}"] if too_far else []
    problems = []
    for kind, flips in cost["flips"].items():
        if flips is not None and flips / cost["pictures"] > limits.flips:
            share = flips / cost["pictures"]
            problems.append(f"the {kind} changes for {flips} of {cost['pictures']} pictures ({share:.2%}), limit "
                         f"{limits.flips:.2%}")  # fmt: skip
    pairs = [(f"recall of {name}", pair, limits.class_recall) for name, pair in cost["recall"].items()]
    pairs.append(("unsafe recall", cost["unsafe_recall"], limits.unsafe_recall))
    pairs.append(("unsafe recall at the threshold", cost["caught"] or [None, None], limits.unsafe_recall))
    problems += [
        f"{name} falls from {before:.2%} to {after:.2%}, limit {limit:.2%}"
        for name, (before, after), limit in pairs
        if before is not None and after is not None and before - after > limit + 1e-9
    ]
    return problems


def lines(cost: dict[str, Any], decision: Decision) -> list[str]:
    """Return the cost as the lines of a table."""
    flips = cost["flips"]
    sides = "no threshold is known" if flips["decision"] is None else f"decision flips {flips['decision']}"
    apart = f"largest difference {cost['max_difference']:.2g} (mean {cost['mean_difference']:.2g})"
    text = [
        f"{cost['pictures']} test pictures: {apart}; {sides}, label flips {flips['label']}",
        f"  {'':<34} {'model':>9} {'export':>9}",
    ]
    rows: Sequence[tuple[str, Any]] = [
        *((f"recall of {name}", pair) for name, pair in cost["recall"].items()),
        ("unsafe recall, most probable class", cost["unsafe_recall"]),
        (f"unsafe caught at {decision.threshold or 0:.4g}", cost["caught"]),
        (f"safe flagged at {decision.threshold or 0:.4g}", cost["flagged"]),
    ]
    return text + [f"  {name:<34} {_percent(pair[0]):>9} {_percent(pair[1]):>9}" for name, pair in rows if pair]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
