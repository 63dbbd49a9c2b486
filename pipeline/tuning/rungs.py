"""The rungs of a search: many short trials, then the best of them longer and on more pictures.

This is successive halving (Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization"), within one study. A trial's slot says its rung: the first one's are numbered from 0, the next one's from
SLOTS, and so on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.params.root import Params
from pipeline.params.tune import Rung, Tune

SLOT = "slot"  # the attribute of a trial that holds its slot's number
SLOTS = 1_000_000
_FEWEST = 3  # trials that an order is judged by


def all_rungs(tune: Tune) -> tuple[Rung, ...]:
    """Return the rungs, the first one included."""
    return (Rung(trials=tune.trials, epochs=tune.epochs, subset=tune.subset), *tune.rungs)


def of_slot(slot: int) -> int:
    """Return the index of a slot's rung, from 0."""
    return slot // SLOTS


def of_trial(trial: FrozenTrial | Trial) -> int:
    """Return the index of a trial's rung, from 0."""
    return of_slot(trial.user_attrs.get(SLOT, 0))


def params_at(params: Params, index: int) -> Params:
    """Return params whose trials are those of a rung."""
    rung = all_rungs(params.tune)[index]
    changes = {"epochs": rung.epochs, "subset": rung.subset}
    return params.model_copy(update={"tune": params.tune.model_copy(update=changes)})


def cost(params: Params, index: int) -> float:
    """Return what a trial's fine-tuning costs, as a share of one in full."""
    rung, full = all_rungs(params.tune)[index], params.finetune.epochs
    return min(rung.epochs, full) / full * rung.subset


@dataclass(frozen=True)
class Agreement:
    """How a rung orders the trials that the next one repeats: Spearman's coefficient (-1 to 1), None of too few."""

    trials: int
    spearman: float | None


def agreement(trials: Sequence[FrozenTrial], index: int) -> Agreement:
    """Compare the order of a rung with that of the next one; `trials` hold slots, only completed ones count."""
    below, above = (_values(trials, number) for number in (index, index + 1))
    both = [key for key in above if key in below]
    if len(both) < _FEWEST:
        return Agreement(len(both), None)
    from scipy.stats import spearmanr

    coefficient = float(spearmanr([below[key] for key in both], [above[key] for key in both]).statistic)
    return Agreement(len(both), None if math.isnan(coefficient) else coefficient)


def _values(trials: Sequence[FrozenTrial], index: int) -> dict[str, float]:
    """Return the first objective by the trial's values, as a text."""
    completed = [each for each in trials if each.state == TrialState.COMPLETE and of_trial(each) == index]
    return {values_key(each): each.values[0] for each in completed}


def values_key(trial: FrozenTrial) -> str:
    """Return a text that is equal for trials of equal values."""
    return repr(sorted(trial.params.items()))
