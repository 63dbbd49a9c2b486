"""What a threshold on a roll-up of classes achieves, on the test set and at a stated prevalence.

A roll-up is a set of classes. A picture's score is the sum of their probabilities; the picture is flagged if its score
is at least the threshold. `probabilities` (n, classes), `labels` (n) indices into `names`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.recall import Floats, Integers, wilson

PER = 100_000  # pictures to which the expected workload refers
_ROUNDING = 1e-9  # so that 0.95 of 20 pictures is 19 in spite of the product's rounding error


def unsafe_recall_at_precision(
    probabilities: Floats, labels: Integers, names: Sequence[str], unsafe: Collection[str], precision: float
) -> float:
    """Return the largest recall of unsafe pictures at a threshold whose precision is at least `precision` (0..1).

    A picture is withheld if the unsafe classes' probabilities add up to at least the threshold. 0.0 if no threshold is
    that precise, or no picture is unsafe.
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
    """Pictures and flagged pictures by class, and which classes are the roll-up's (`members`); shape (classes,)."""

    pictures: Integers
    flagged: Integers
    members: npt.NDArray[np.bool_]


def threshold_at_recall(scores: Floats, truth: npt.NDArray[np.bool_], target: float) -> float | None:
    """Return the largest threshold that at least `target` (0..1) of the pictures with `truth` reach; None without any.

    That is the k-th largest score of these pictures, k = ceil(target * their number).
    """
    descending = np.sort(scores[truth])[::-1]
    if descending.size == 0:
        return None
    k = max(1, int(np.ceil(target * descending.size - _ROUNDING)))
    return float(descending[k - 1])


def score(probabilities: Floats, members: npt.NDArray[np.bool_]) -> Floats:
    """Return each picture's score, the sum of the roll-up's probabilities, shape (n,)."""
    total: Floats = probabilities[:, members].sum(axis=1)
    return total


def count_flags(scores: Floats, labels: Integers, members: npt.NDArray[np.bool_], threshold: float) -> Flags:
    """Count the pictures of each class, and those that `threshold` flags."""
    return Flags(
        pictures=np.bincount(labels, minlength=members.size),
        flagged=np.bincount(labels[scores >= threshold], minlength=members.size),
        members=members,
    )


def measure(flags: Flags, confidence: float) -> dict[str, Any]:
    """Return recall, precision and false_positive_rate, each with Wilson's interval; None if unknown.

    recall: flagged pictures of the roll-up's classes / all of them. precision: the same / all that is flagged.
    false_positive_rate: flagged pictures of the other classes / all of those.
    """
    inside, outside = flags.members, ~flags.members
    caught, wrong = int(flags.flagged[inside].sum()), int(flags.flagged[outside].sum())
    figures: dict[str, Any] = {}
    for name, hits, trials in (
        ("recall", caught, int(flags.pictures[inside].sum())),
        ("precision", caught, caught + wrong),
        ("false_positive_rate", wrong, int(flags.pictures[outside].sum())),
    ):
        figures[name] = hits / trials if trials else None
        figures[f"{name}_interval"] = wilson(hits, trials, confidence)
    return figures


def class_shares(
    prevalence: float | Mapping[str, float], pictures: Integers, names: Sequence[str], unsafe: Collection[str]
) -> Floats | None:
    """Return each class's share of real traffic, shape (classes,), adding up to 1.

    A mapping has the shares; a class that it lacks has none. A number p is the share of all unsafe classes together;
    within the unsafe and within the safe classes the mix is that of `pictures` (the test set's count of each class).
    So class c has p * n_c / n_unsafe or (1 - p) * n_c / n_safe. None if a class with a share has no test picture:
    nothing is known of it.
    """
    if isinstance(prevalence, Mapping):
        shares = np.array([prevalence.get(name, 0.0) for name in names], dtype=np.float64)
        return None if (pictures[shares > 0] == 0).any() else shares
    # Only the number is stated: the mix within the unsafe and within the safe classes comes from the test set.
    members = np.array([name in unsafe for name in names])
    n_unsafe, n_safe = pictures[members].sum(), pictures[~members].sum()
    if n_unsafe == 0 or n_safe == 0:
        return None
    mixed: Floats = np.where(members, prevalence * pictures / n_unsafe, (1.0 - prevalence) * pictures / n_safe)
    return mixed


def at_prevalence(flags: Flags, shares: Floats, confidence: float) -> dict[str, Any]:
    """Return a threshold's figures if class c has share w_c of the traffic and f_c of its pictures are flagged.

    precision = sum over the roll-up's classes of w_c f_c / sum over all classes of w_c f_c; flagged_per_100000 =
    100,000 * the latter sum, the pictures that people have to review; missed_per_100000 = 100,000 * sum over the
    roll-up's classes of w_c (1 - f_c). Intervals: Wilson's limits of each f_c, combined for weighted sums of
    independent proportions by MOVER (Zou and Donner 2008). That of precision takes the worse limits of both its
    sums, so it covers more than `confidence`.
    """
    # f_c of each class with its limits; a class without test pictures has weight 0, so its f_c does not matter.
    rates = flags.flagged / np.maximum(flags.pictures, 1)
    limits = np.array(
        [wilson(int(k), int(n), confidence) or [0.0, 1.0] for k, n in zip(flags.flagged, flags.pictures, strict=True)]
    )
    # Shares of the traffic that are flagged: rightly (of the roll-up's classes), wrongly (of the others), in all.
    inside, every = np.where(flags.members, shares, 0.0), shares
    right, right_low, right_high = _weighted(inside, rates, limits)
    wrong, wrong_low, wrong_high = _weighted(every - inside, rates, limits)
    flagged, flagged_low, flagged_high = _weighted(every, rates, limits)
    # The roll-up's share of the traffic; what of it is not flagged is missed.
    relevant = float(inside.sum())
    return {
        # Precision grows with `right` and falls with `wrong`: its lower limit pairs the low one with the high one.
        "precision": _ratio(right, right + wrong),
        "precision_interval": [_ratio(right_low, right_low + wrong_high), _ratio(right_high, right_high + wrong_low)]
        if flagged > 0
        else None,
        "flagged_per_100000": PER * flagged,
        "flagged_per_100000_interval": [PER * flagged_low, PER * flagged_high],
        "missed_per_100000": PER * (relevant - right),
        "missed_per_100000_interval": [PER * (relevant - right_high), PER * (relevant - right_low)],
    }


def _weighted(weights: Floats, rates: Floats, limits: Floats) -> tuple[float, float, float]:
    """Return the weighted sum of proportions and MOVER's limits, never below 0 nor above the weights' sum."""
    total = float((weights * rates).sum())
    # MOVER: the distances of the sum to its limits are the root of the summed squares of the terms' distances.
    below = float(np.sqrt(np.square(weights * (rates - limits[:, 0])).sum()))
    above = float(np.sqrt(np.square(weights * (limits[:, 1] - rates)).sum()))
    return total, max(0.0, total - below), min(float(weights.sum()), total + above)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
