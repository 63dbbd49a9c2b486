"""Operating points: for each roll-up of classes a threshold chosen on val, with its figures on test."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.evaluation import operating_point
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evaluation.recall import Floats, Integers
from pipeline.params.evaluate import Evaluate, Policy

ACTIONS = tuple(Policy.model_fields)  # block, blur, queue
ALL_UNSAFE = "unsafe"


class Rollup(NamedTuple):
    """Classes whose probabilities are added up; `action`: what the policy does with them, None for all unsafe ones."""

    name: str
    classes: tuple[str, ...]
    action: str | None


class SplitPredictions(NamedTuple):
    """Calibrated probabilities (n, classes) and label indices (n) of a split."""

    probabilities: Floats
    labels: Integers


def policy(stated: Policy | None, unsafe: Sequence[str]) -> dict[str, list[str]]:
    """Return the classes of each action; without a policy every unsafe class is queued."""
    chosen = Policy(queue=tuple(unsafe)) if stated is None else stated
    return {action: list(getattr(chosen, action)) for action in ACTIONS}


def rollups(actions: Mapping[str, Sequence[str]], unsafe: Sequence[str]) -> list[Rollup]:
    """Return the roll-up of all unsafe classes, then one for each action that has classes."""
    everything = [Rollup(ALL_UNSAFE, tuple(unsafe), None)]
    return everything + [Rollup(action, tuple(classes), action) for action, classes in actions.items() if classes]


def operating_points(
    val: SplitPredictions, test: SplitPredictions, match: LabelMatch, evaluate: Evaluate
) -> dict[str, Any]:
    """Return by roll-up: classes, action, threshold, val_recall, `operating_point.measure` of test, at_prevalence.

    The threshold is the largest one that reaches evaluate.target_recall on val. It and all figures are None if val has
    no picture of the classes. at_prevalence is None if no prevalence is stated, or a class has no test picture; its key
    unsafe_share (a number) or shares (by class) holds the stated prevalence. An action is left out if the model has no
    label for one of its classes, unless it has all unsafe ones. Indices and columns are those of match.names.
    """
    actions = policy(evaluate.policy, match.unsafe_classes)
    sets = {action: _judged(classes, match) for action, classes in actions.items()}
    return {rollup.name: _point(rollup, val, test, match, evaluate) for rollup in rollups(sets, match.all_unsafe)}


def _judged(classes: Sequence[str], match: LabelMatch) -> Sequence[str]:
    """Return the names whose probabilities add up to an action's classes; () if the model cannot tell them apart."""
    if set(classes) <= set(match.labels):
        return classes
    return match.all_unsafe if set(classes) == set(match.unsafe_classes) else ()


def _point(
    rollup: Rollup,
    val: SplitPredictions,
    test: SplitPredictions,
    match: LabelMatch,
    evaluate: Evaluate,
) -> dict[str, Any]:
    members = np.array([name in rollup.classes for name in match.names])
    val_scores, val_truth = operating_point.score(val.probabilities, members), members[val.labels]
    threshold = operating_point.threshold_at_recall(val_scores, val_truth, evaluate.target_recall)
    # Without a threshold nothing is flagged, and the figures are dropped below.
    scores = operating_point.score(test.probabilities, members)
    flags = operating_point.count_flags(scores, test.labels, members, np.inf if threshold is None else threshold)
    figures = operating_point.measure(flags, evaluate.confidence)
    known = threshold is not None
    return {
        "classes": [name for name in rollup.classes if name in match.labels],
        "action": rollup.action,
        "threshold": threshold,
        "val_recall": float((val_scores[val_truth] >= threshold).mean()) if known else None,
        **{key: value if known else None for key, value in figures.items()},
        "at_prevalence": _point_at_prevalence(flags, match.names, match.all_unsafe, evaluate) if known else None,
    }


def _point_at_prevalence(
    flags: operating_point.Flags, names: Sequence[str], unsafe: Collection[str], evaluate: Evaluate
) -> dict[str, Any] | None:
    prevalence = evaluate.prevalence
    if prevalence is None:
        return None
    shares = operating_point.class_shares(prevalence, flags.pictures, names, unsafe)
    if shares is None:
        return None
    stated = {"shares": dict(prevalence)} if isinstance(prevalence, dict) else {"unsafe_share": prevalence}
    return {**stated, **operating_point.at_prevalence(flags, shares, evaluate.confidence)}
