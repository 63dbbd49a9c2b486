"""What a search proposes: the winner against params.yaml's values on all of train, over several seeds, as a diff."""

import difflib
import hashlib
import io
import json
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ruamel.yaml import YAML

from pipeline import files, paths
from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.tracking.live import LivePublisher
from pipeline.tuning import runs, space, study, trial

_DIGITS = 3  # significant ones of a value in params.yaml: the search knows no more
_CONFIRMED = "confirmed"
_NOISE = 2.0  # standard errors


@dataclass(frozen=True)
class Gain:
    """What the winner gains over params.yaml's values, by seed, in the objective's own unit; above 0 is better."""

    objective: str
    winner: tuple[float, ...]
    current: tuple[float, ...]

    @property
    def by_seed(self) -> tuple[float, ...]:
        """Winner less current, or the reverse where less is better."""
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
        """Whether the gain is more than noise: above two standard errors."""
        return self.mean > 0 and self.mean > _NOISE * self.error


def rounded(values: Mapping[str, Any]) -> space.Values:
    """Return values as a person would write them: floats with three significant digits."""
    return {key: float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value for key, value in values.items()}


def confirm(searched: optuna.Study, params: Params, values: Mapping[str, Any], tell: Callable[[str], None]) -> Gain:
    """Train in full with the values and with params.yaml's own, by `tune.confirm_seeds` seeds each.

    What was trained in an earlier call is not trained again.
    """
    objective = params.tune.objective
    data = None
    results: dict[str, list[float]] = {}
    for name, chosen in (("current", params), ("winner", space.apply(values, params))):
        for number in range(params.tune.confirm_seeds):
            seeded = chosen.model_copy(update={"seed": params.seed + number})
            key = f"{_CONFIRMED}:{_digest(seeded)}"
            known = searched.user_attrs.get(key)
            if known is None:
                data = data or trial.load(params, 1.0)
                known = _train(searched, seeded, data, name)
                searched.set_user_attr(key, known)
            tell(f"{name}, seed {seeded.seed}: {objective} {known:.4f}")
            results.setdefault(name, []).append(known)
    return Gain(objective, tuple(results["winner"]), tuple(results["current"]))


def _digest(chosen: Params) -> str:
    sections = chosen.model_dump(by_alias=True, include={"seed", "train", "finetune", "augment"})
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()[:16]


def _train(searched: optuna.Study, chosen: Params, data: trial.Data, name: str) -> float:
    seen: list[float] = []
    metric, direction = trial.METRICS[chosen.tune.objective], study.direction(chosen.tune.objective)
    label, parent = f"{name}, seed {chosen.seed}", searched.user_attrs.get(study.PARENT, "")
    record = runs.begin(chosen, searched.study_name, label, parent, inputs=trial.INPUTS)

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        record.log_epoch(epoch, metrics)
        seen.append(metrics[metric])

    with LivePublisher(record), record:
        trial.train(chosen, data, report)
        value = trial.best(seen, direction)
        record.log_summary({f"objective/{chosen.tune.objective}": value})
    return value


def changes(values: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """Return the leaves of params.yaml that the values change, by dotted key; a changed schedule is one leaf."""
    old, new = (chosen.model_dump(by_alias=True) for chosen in (params, space.apply(values, params)))
    return dict(_leaves(old, new, ""))


def _leaves(old: Any, new: Any, above: str) -> Any:
    for key, value in new.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and key != "schedule":
            yield from _leaves(old[key], value, f"{name}.")
        elif value != old[key]:
            yield name, value


def rewritten(text: str, changed: Mapping[str, Any]) -> str:
    """Return params.yaml's text with the changes, its comments and order kept."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda made, _: made.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.representer.add_representer(
        float, lambda made, value: made.represent_scalar("tag:yaml.org,2002:float", _float(value))
    )
    document = yaml.load(text)
    for key, value in changed.items():
        *path, last = key.split(".")
        section = document
        for part in path:
            section = section[part]
        if isinstance(value, Mapping):
            _merge(section[last], value)
        elif isinstance(value, (tuple, list)):
            section[last][:] = list(value)
        else:
            section[last] = value
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _float(value: float) -> str:
    """Return a float as YAML 1.1 reads it too: it takes 1e-05 for a string, and 1.0e-05 for a number."""
    mantissa, mark, exponent = repr(value).partition("e")
    return f"{mantissa}.0{mark}{exponent}" if mark and "." not in mantissa else repr(value)


def _merge(section: Any, values: Mapping[str, Any]) -> None:
    for key in [key for key in section if key not in values]:
        del section[key]
    for key, value in values.items():
        section[key] = list(value) if isinstance(value, tuple) else value


def difference(old: str, new: str, path: Path = paths.PARAMS) -> str:
    """Return a unified diff."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{path}", f"b/{path}", n=1
    )
    return "".join(lines)


def write(changed: Mapping[str, Any], path: Path = paths.PARAMS) -> str:
    """Put the changes into params.yaml; return the diff."""
    old = path.read_text(encoding="utf-8")
    new = rewritten(old, changed)
    with files.atomic(path) as temporary:
        temporary.write_text(new, encoding="utf-8")
    return difference(old, new, path)


def refuse_noise(gain: Gain, *, anyway: bool) -> None:
    """Raise UserError where the gain may be noise, unless told otherwise."""
    if not (gain.certain or anyway):
        raise UserError(
            f"the winner's gain in {gain.objective} is {gain.mean:+.4f} with a standard error of {gain.error:.4f} over "
            f"{len(gain.by_seed)} seeds: within noise, params.yaml stays as it is. "
            "More trials (--trials), more tune.confirm_seeds, or --anyway."
        )
