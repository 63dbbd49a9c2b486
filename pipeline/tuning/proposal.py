"""What a search proposes: the best trial's values, confirmed against params.yaml's own on all of train."""

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna

from pipeline.core.errors import UserError
from pipeline.params.root import Params
from pipeline.tracking.live_publisher import LivePublisher
from pipeline.tuning import runs, space, study

if TYPE_CHECKING:
    from pipeline.training.both_stages import Data

_DIGITS = 3  # significant digits of a value in params.yaml: a search is no more precise
_CONFIRMED = "confirmed"
_NOISE = 2.0  # standard errors


@dataclass(frozen=True)
class Gain:
    """The winner's gain over params.yaml's values, by seed, in the objective's unit; above 0 is better."""

    objective: str
    winner: tuple[float, ...]
    current: tuple[float, ...]

    @property
    def by_seed(self) -> tuple[float, ...]:
        """Winner minus current, or the reverse for an objective that is minimized."""
        sign = 1 if study.direction(self.objective) == "maximize" else -1
        return tuple(sign * (new - old) for new, old in zip(self.winner, self.current, strict=True))

    @property
    def mean(self) -> float:
        """The expected gain."""
        return statistics.mean(self.by_seed)

    @property
    def error(self) -> float:
        """The standard error of the mean over seeds."""
        return statistics.stdev(self.by_seed) / math.sqrt(len(self.by_seed))

    @property
    def certain(self) -> bool:
        """Whether the gain is more than noise: above 0 and above two standard errors."""
        return self.mean > 0 and self.mean > _NOISE * self.error


def round_values(values: Mapping[str, Any]) -> space.Values:
    """Return values with floats rounded to three significant digits."""
    return {key: float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value for key, value in values.items()}


def confirm(optuna_study: optuna.Study, params: Params, values: Mapping[str, Any], log: Callable[[str], None]) -> Gain:
    """Train in full with the values and with params.yaml's own, over `tune.confirm_seeds` seeds each; return the gain.

    Results of earlier calls are stored in the study and used again. `log` gets a line for each training.
    """
    from pipeline.tuning import trial

    objective = params.tune.objective
    data = None
    results: dict[str, list[float]] = {}
    for name, chosen in (("current", params), ("winner", space.apply(values, params))):
        for number in range(params.tune.confirm_seeds):
            seeded = chosen.model_copy(update={"seed": params.seed + number})
            key = f"{_CONFIRMED}:{_digest(seeded)}"
            known = optuna_study.user_attrs.get(key)
            if known is None:
                data = data or trial.load(params, 1.0)
                known = _train(optuna_study, seeded, data, name)
                optuna_study.set_user_attr(key, known)
            log(f"{name}, seed {seeded.seed}: {objective} {known:.4f}")
            results.setdefault(name, []).append(known)
    return Gain(objective, tuple(results["winner"]), tuple(results["current"]))


def _digest(chosen: Params) -> str:
    sections = chosen.model_dump(by_alias=True, include={"seed", "train", "finetune", "augment"})
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()[:16]


def _train(optuna_study: optuna.Study, chosen: Params, data: "Data", name: str) -> float:
    from pipeline.tuning import trial

    seen: list[float] = []
    metric, direction = trial.METRICS[chosen.tune.objective], study.direction(chosen.tune.objective)
    label, parent = f"{name}, seed {chosen.seed}", optuna_study.user_attrs.get(study.PARENT, "")
    record = runs.begin(chosen, optuna_study.study_name, label, parent, inputs=study.INPUTS)

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        record.log_epoch(epoch, metrics)
        seen.append(metrics[metric])

    with LivePublisher(record), record:
        trial.train(chosen, data, report)
        value = trial.best(seen, direction)
        record.log_summary({f"objective/{chosen.tune.objective}": value})
    return value


def changes(values: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """Return the keys (dotted) of params.yaml that the values change, with their new values; a schedule is one key."""
    old, new = (chosen.model_dump(by_alias=True) for chosen in (params, space.apply(values, params)))
    return dict(_leaves(old, new, ""))


def _leaves(old: Any, new: Any, above: str) -> Any:
    for key, value in new.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and key != "schedule":
            yield from _leaves(old[key], value, f"{name}.")
        elif value != old[key]:
            yield name, value


def refuse_noise(gain: Gain, *, anyway: bool) -> None:
    """Raise UserError if the gain may be noise, except where the user wants it `anyway`."""
    if not (gain.certain or anyway):
        raise UserError(
            f"the winner's gain in {gain.objective} is {gain.mean:+.4f} with a standard error of {gain.error:.4f} over "
            f"{len(gain.by_seed)} seeds: within noise, params.yaml stays as it is. "
            "More trials (--trials), more tune.confirm_seeds, or --anyway."
        )
