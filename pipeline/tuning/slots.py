"""Slots: what makes a search exact about how many trials it holds.

A study of N trials has N slots. A slot holds a trial that waits in the queue, runs, or is finished (completed or
pruned). A slot whose trial failed (its worker may have died) is filled again with the same values. So N finished trials
come out, however many workers take part and whichever of them die.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.params.root import Params
from pipeline.tuning import space

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_OPEN = (*FINISHED, TrialState.WAITING, TrialState.RUNNING)

SLOT = "slot"  # the attribute of a trial that holds its slot's number


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed and pruned trials."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """Return the best completed trial, by the first objective where there are two; None without any."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = 1 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else -1
    return max(completed, key=lambda trial: (sign * trial.values[0], -trial.number), default=None)


def by_slot(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return the trial that holds each slot, the first where two do."""
    holders: dict[int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state in _OPEN and SLOT in trial.user_attrs:
            holders.setdefault(trial.user_attrs[SLOT], trial)
    return holders


def fill(study: optuna.Study, params: Params, total: int) -> None:
    """Queue a trial for each of `total` slots that has none.

    The first slots get `space.first_trials`; a slot whose trials failed gets the last one's values; the sampler draws
    the others. Only one process of a machine may call it at a time. Two machines may fill one slot twice: see
    `is_surplus`.
    """
    trials = study.get_trials(deepcopy=False)
    holders = by_slot(trials)
    known = space.first_trials(params.tune.space, params)
    for slot in range(total):
        if slot in holders:
            continue
        failed = [trial for trial in trials if trial.user_attrs.get(SLOT) == slot]
        drawn = max(failed, key=lambda trial: trial.number).params if failed else {}
        study.enqueue_trial(known[slot] if slot < len(known) else drawn, user_attrs={SLOT: slot})


def is_surplus(study: optuna.Study, number: int) -> bool:
    """Return whether trial `number` holds no slot: the queue was empty, or its slot was filled twice."""
    trials = study.get_trials(deepcopy=False)
    return all(trial.number != number for trial in by_slot(trials).values())


@dataclass(frozen=True)
class StudyState:
    """How far a study is: how many of its `total` trials are finished, pruned (among these) and running; the best."""

    total: int
    finished: int
    pruned: int
    running: int
    best: FrozenTrial | None


def study_state(study: optuna.Study, total: int) -> StudyState:
    """Read a study's state from its storage."""
    trials = [trial for slot, trial in by_slot(study.get_trials(deepcopy=False)).items() if slot < total]
    states = [trial.state for trial in trials]
    return StudyState(
        total,
        sum(state in FINISHED for state in states),
        states.count(TrialState.PRUNED),
        states.count(TrialState.RUNNING),
        best_trial(study),
    )
