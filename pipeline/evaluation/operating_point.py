"""What a threshold on several classes together achieves: on the test set, and in the traffic that a team states.

A roll-up is a set of classes; a picture's score is their probabilities added up, and it is flagged where the score is
at least the threshold. `probabilities` (n, classes), `labels` (n) indices into `names`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.recall import Floats, Integers, wilson

PER = 100_000  # pictures that the expected workload is told for
_ROUNDING = 1e-9  # 0.95 of 20 pictures is 19, whatever the product's last bit says


def unsafe_recall_at_precision(
    probabilities: Floats, labels: Integers, names: Sequence[str], unsafe: Collection[str], precision: float
) -> float:
    """Return the largest recall of unsafe pictures at a threshold whose precision is at least `precision` (0..1).

    A picture is withheld where the unsafe classes' probabilities add up to the threshold or more. 0.0 where no
    threshold is that precise, or nothing is unsafe.
    """
    from sklearn.metrics import precision_recall_curve

    members = np.array([name in unsafe for name in names])
    truth = members[labels]
    if not truth.any():
        return 0.0
    precisions, recalls, _ = precision_recall_curve(truth, probabilities[:, members].sum(axis=1))
    return float(recalls[precisions >= precision].max(initial=0.0))


@dataclass(frozen=True)
class Flags:
    """How many pictures of each class there are, and how many of them are flagged; shape (classes,) each."""

    pictures: Integers
    flagged: Integers
    members: npt.NDArray[np.bool_]


def threshold_at_recall(scores: Floats, truth: npt.NDArray[np.bool_], target: float) -> float | None:
    """Return the largest threshold at which at least `target` (0..1) of the true ones score that much or more.

    That is the k-th largest score among the true ones, k = ceil(target * their number). None where nothing is true.
    """
    found = np.sort(scores[truth])[::-1]
    if found.size == 0:
        return None
    wanted = max(1, int(np.ceil(target * found.size - _ROUNDING)))
    return float(found[wanted - 1])


def score(probabilities: Floats, members: npt.NDArray[np.bool_]) -> Floats:
    """Return each picture's probability of being of the roll-up's classes, shape (n,)."""
    total: Floats = probabilities[:, members].sum(axis=1)
    return total


def flag(scores: Floats, labels: Integers, members: npt.NDArray[np.bool_], threshold: float) -> Flags:
    """Count by class what `threshold` flags."""
    return Flags(
        pictures=np.bincount(labels, minlength=members.size),
        flagged=np.bincount(labels[scores >= threshold], minlength=members.size),
        members=members,
    )


def measure(flags: Flags, confidence: float) -> dict[str, Any]:
    """Return recall, precision and false_positive_rate of counted flags, each with Wilson's interval; None if unknown.

    recall: flagged pictures of the roll-up's classes / all of them. precision: the same / all that is flagged.
    false_positive_rate: flagged pictures of the other classes / all of those.
    """
    inside, outside = flags.members, ~flags.members
    caught, wrong = int(flags.flagged[inside].sum()), int(flags.flagged[outside].sum())
    found: dict[str, Any] = {}
    for name, hits, trials in (
        ("recall", caught, int(flags.pictures[inside].sum())),
        ("precision", caught, caught + wrong),
        ("false_positive_rate", wrong, int(flags.pictures[outside].sum())),
    ):
        found[name] = hits / trials if trials else None
        found[f"{name}_interval"] = wilson(hits, trials, confidence)
    return found


def class_shares(
    prevalence: float | Mapping[str, float], pictures: Integers, names: Sequence[str], unsafe: Collection[str]
) -> Floats | None:
    """Return each class's share of real traffic, shape (classes,), adding up to 1.

    A mapping says them all. A number is the unsafe classes' share together: within the unsafe and within the safe
    ones the mix is that of `pictures` (the test set's count of each class): p * n_c / n_unsafe, (1 - p) * n_c / n_safe.
    None where a class that has a share has no test picture, so that nothing is known of it.
    """
    if isinstance(prevalence, Mapping):
        shares = np.array([prevalence[name] for name in names], dtype=np.float64)
        return None if (pictures[shares > 0] == 0).any() else shares
    members = np.array([name in unsafe for name in names])
    n_unsafe, n_safe = pictures[members].sum(), pictures[~members].sum()
    if n_unsafe == 0 or n_safe == 0:
        return None
    mixed: Floats = np.where(members, prevalence * pictures / n_unsafe, (1.0 - prevalence) * pictures / n_safe)
    return mixed


def at_prevalence(flags: Flags, shares: Floats, confidence: float) -> dict[str, Any]:
    """Return what a threshold means where class c has share w_c of the traffic and f_c of its pictures are flagged.

    precision = sum over the roll-up's classes of w_c f_c / sum over all of w_c f_c; flagged_per_100000 = 100,000 times
    the latter (so many a person has to review); missed_per_100000 = 100,000 * sum over the roll-up's of w_c (1 - f_c).
    Intervals: each f_c has Wilson's limits, and weighted sums of independent proportions are MOVER's (Zou and Donner
    2008); precision's takes the worse limit of both of its sums, which is wider than it says.
    """
    safe = np.maximum(flags.pictures, 1)
    rates = flags.flagged / safe
    limits = np.array(
        [wilson(int(k), int(n), confidence) or [0.0, 1.0] for k, n in zip(flags.flagged, flags.pictures, strict=True)]
    )
    inside, every = np.where(flags.members, shares, 0.0), shares
    right, right_low, right_high = _weighted(inside, rates, limits)
    wrong, wrong_low, wrong_high = _weighted(every - inside, rates, limits)
    flagged, flagged_low, flagged_high = _weighted(every, rates, limits)
    wanted = float(inside.sum())
    return {
        "precision": _ratio(right, right + wrong),
        "precision_interval": [_ratio(right_low, right_low + wrong_high), _ratio(right_high, right_high + wrong_low)]
        if flagged > 0
        else None,
        "flagged_per_100000": PER * flagged,
        "flagged_per_100000_interval": [PER * flagged_low, PER * flagged_high],
        "missed_per_100000": PER * (wanted - right),
        "missed_per_100000_interval": [PER * (wanted - right_high), PER * (wanted - right_low)],
    }


def _weighted(weights: Floats, rates: Floats, limits: Floats) -> tuple[float, float, float]:
    """Return the weighted sum of proportions and MOVER's limits, never below 0 nor above the weights' sum."""
    total = float((weights * rates).sum())
    below = float(np.sqrt(np.square(weights * (rates - limits[:, 0])).sum()))
    above = float(np.sqrt(np.square(weights * (limits[:, 1] - rates)).sum()))
    return total, max(0.0, total - below), min(float(weights.sum()), total + above)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
