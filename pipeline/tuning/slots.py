"""Slots: what makes a search exact about how many trials it holds.

A rung of N trials has N slots. A slot holds a trial that waits in the queue, runs, or is finished (completed or
pruned). A slot whose trial failed (its worker may have died) is filled again with the same values. So N finished trials
come out, however many workers take part and whichever of them die. The slots of a further rung exist once all trials of
the one before are finished, because its values are the best of those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.params.root import Params
from pipeline.tuning import rungs, space
from pipeline.tuning.rungs import SLOT

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_OPEN = (*FINISHED, TrialState.WAITING, TrialState.RUNNING)
_FIXED = "fixed_params"  # Optuna's name for the values of a trial that waits in the queue


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed and pruned trials."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """Return the best completed trial of the furthest rung, by the first objective; None without any."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(completed, key=lambda trial: (rungs.of_trial(trial), _rank(trial, study)), default=None)


def _rank(trial: FrozenTrial, study: optuna.Study) -> tuple[float, int]:
    sign = 1 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else -1
    return sign * trial.values[0], -trial.number


def by_slot(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return the trial that holds each slot, the first where two do."""
    holders: dict[int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state in _OPEN and SLOT in trial.user_attrs:
            holders.setdefault(trial.user_attrs[SLOT], trial)
    return holders


def fill(study: optuna.Study, params: Params) -> None:
    """Queue a trial for each slot that has none.

    The first slots get `space.first_trials`; a slot whose trials failed gets the last one's values; the sampler draws
    the others. Only one process of a machine may call it at a time. Two machines may fill one slot twice: see
    `is_surplus`.
    """
    trials = study.get_trials(deepcopy=False)
    holders = by_slot(trials)
    for slot, values in _planned(study, holders, params).items():
        if slot in holders:
            continue
        failed = [trial for trial in trials if trial.user_attrs.get(SLOT) == slot]
        drawn = max(failed, key=lambda trial: trial.number).params if failed else {}
        study.enqueue_trial(dict(values or drawn), user_attrs={SLOT: slot})


def _planned(study: optuna.Study, holders: Mapping[int, FrozenTrial], params: Params) -> dict[int, Mapping[str, Any]]:
    """Return the slots that exist now, each with its values; no values where the sampler draws them."""
    tune, known = params.tune, space.first_trials(params.tune.space, params)
    planned: dict[int, Mapping[str, Any]] = {
        slot: known[slot] if slot < len(known) else {} for slot in range(tune.trials)
    }
    below = list(planned)
    for index, rung in enumerate(tune.rungs, 1):
        finished = [holders[slot] for slot in below if slot in holders and holders[slot].state in FINISHED]
        if len(finished) < len(below):
            break
        slots = {
            slot: trial.system_attrs.get(_FIXED) for slot, trial in holders.items() if rungs.of_slot(slot) == index
        }
        below = []
        for values in _best_values(study, finished, rung.trials, known[0]):
            slot = next((slot for slot, fixed in slots.items() if fixed == values), None)
            if slot is None:
                slot = max(slots, default=index * rungs.SLOTS - 1) + 1
                slots[slot] = values
            planned[slot] = values
            below.append(slot)
    return planned


def _best_values(
    study: optuna.Study, finished: Sequence[FrozenTrial], count: int, always: space.Values
) -> list[space.Values]:
    """Return the values `always`, and those of the best completed trials beside it; `count` in all."""
    completed = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    values = [trial.params for trial in sorted(completed, key=lambda trial: _rank(trial, study), reverse=True)]
    others: list[space.Values] = []
    for each in values:
        if each != always and each not in others:
            others.append(each)
    return [always, *others[: max(0, count - 1)]]


def is_surplus(study: optuna.Study, number: int) -> bool:
    """Return whether trial `number` holds no slot: the queue was empty, or its slot was filled twice."""
    trials = study.get_trials(deepcopy=False)
    return all(trial.number != number for trial in by_slot(trials).values())


@dataclass(frozen=True)
class StudyState:
    """How far a study is.

    total, finished, pruned, running: trials, the pruned ones among the finished; total is exact in the last rung.
    rung: the rung that runs, from 1.
    best: the best trial of the furthest rung.
    """

    total: int
    finished: int
    pruned: int
    running: int
    rung: int
    best: FrozenTrial | None

    @property
    def ended(self) -> bool:
        """Whether all trials are finished."""
        return self.finished >= self.total


def study_state(study: optuna.Study, params: Params) -> StudyState:
    """Read a study's state from its storage."""
    holders = by_slot(study.get_trials(deepcopy=False))
    planned = _planned(study, holders, params)
    states = [holders[slot].state for slot in planned if slot in holders]
    reached = max(map(rungs.of_slot, planned))
    return StudyState(
        len(planned) + sum(rung.trials for rung in params.tune.rungs[reached:]),
        sum(state in FINISHED for state in states),
        states.count(TrialState.PRUNED),
        states.count(TrialState.RUNNING),
        reached + 1,
        best_trial(study),
    )
