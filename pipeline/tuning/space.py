"""The search space: entries of `tune.space`, and what their values make of params.yaml.

`Values` are {dotted key: value}. Some keys are not params.yaml's own: `train.dropout.0` and `.1` are places in a list,
`augment.strength` scales every range of augmentation (1.0: as params.yaml has them).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.core.errors import UserError
from pipeline.model.schedule import first_rate
from pipeline.params.backbone import UNFREEZE_POINTS
from pipeline.params.root import Params, parse_params
from pipeline.params.schedule import Piecewise, Schedule
from pipeline.params.tune import Choices, Entry, Interval

Values = dict[str, Any]
Space = Mapping[str, Entry]
Distribution = CategoricalDistribution | IntDistribution | FloatDistribution

KIND = "finetune.schedule.kind"
STRENGTH = "augment.strength"
UNFREEZE = "finetune.unfreeze"
_SCHEDULE = "finetune.schedule."
_STAIRS = ("initial", "rate", "every_epochs", "warmup_epochs")
OF_KIND = {"exponential": _STAIRS, "cosine": ("initial", "final", "warmup_epochs"), "piecewise": _STAIRS}

# In the order in which they are drawn: a schedule's kind decides which of its keys there are.
KEYS = (
    "train.dropout.0",
    "train.dropout.1",
    "train.l2",
    "train.optimizer",
    "train.learning_rate",
    "train.momentum",
    "train.batch_size",
    "train.label_smoothing",
    UNFREEZE,
    "finetune.optimizer",
    "finetune.momentum",
    "finetune.batch_size",
    "finetune.label_smoothing",
    "finetune.clip_norm",
    KIND,
    *(_SCHEDULE + name for name in (*_STAIRS, "final")),
    STRENGTH,
)

# nsfw_model's, where params.yaml's may differ.
_ARTICLE = {"train.dropout.0": 0.5, "train.dropout.1": 0.25, "train.l2": 0.0005, STRENGTH: 1.0}
_ARTICLE_POINT = {"inception_v3": "mixed5"}


def draw(trial: Any, space: Space, params: Params) -> Values:
    """Let Optuna choose a value for every key that applies."""
    values: Values = {}
    for key in _applicable(space, params, values):
        values[key] = _suggest(trial, key, space[key], params)
    return values


def _applicable(space: Space, params: Params, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the space's keys in order; `values` grows meanwhile, and says which schedule it is."""
    for key in KEYS:
        if key not in space:
            continue
        name = key.removeprefix(_SCHEDULE)
        kind = values.get(KIND, params.finetune.schedule.kind)
        if key in {KIND, name} or name in OF_KIND[kind]:
            yield key


def _suggest(trial: Any, key: str, entry: Entry, params: Params) -> Any:
    made = distribution(key, entry, params)
    if isinstance(made, CategoricalDistribution):
        return trial.suggest_categorical(key, made.choices)
    if isinstance(made, IntDistribution):
        return trial.suggest_int(key, made.low, made.high, step=made.step, log=made.log)
    return trial.suggest_float(key, made.low, made.high, step=made.step, log=made.log)


def distribution(
    key: str, entry: Entry, params: Params
) -> CategoricalDistribution | IntDistribution | FloatDistribution:
    """Return an entry as Optuna's distribution; unfreeze points in the order of their depth, the deepest cut last."""
    if isinstance(entry, Choices):
        choices = sorted(entry.choices, key=_shallowness(params)) if key == UNFREEZE else entry.choices
        return CategoricalDistribution(choices)
    if isinstance(entry.low, int) and isinstance(entry.high, int) and float(entry.step or 1).is_integer():
        return IntDistribution(entry.low, entry.high, log=entry.log, step=int(entry.step or 1))
    return FloatDistribution(float(entry.low), float(entry.high), log=entry.log, step=entry.step)


def _shallowness(params: Params) -> Any:
    points = [point for point in UNFREEZE_POINTS[params.backbone.name] if point not in {"all", "none"}]
    order = ["none", *reversed(points), "all"]
    return lambda point: order.index(point) if point in order else len(order)


def first_trials(space: Space, params: Params) -> list[Values]:
    """Return what is tried before anything is drawn: the article's values, then params.yaml's where they differ."""
    current = baseline(space, params)
    article = dict(current)
    known = _ARTICLE | ({UNFREEZE: _ARTICLE_POINT[params.backbone.name]} if _has_article_point(params) else {})
    for key, value in known.items():
        if key in article and contains(key, space[key], value, params):
            article[key] = value
    return [article] if article == current else [article, current]


def _has_article_point(params: Params) -> bool:
    return params.backbone.name in _ARTICLE_POINT


def baseline(space: Space, params: Params) -> Values:
    """Return the values that params.yaml has now."""
    values: Values = {}
    for key in _applicable(space, params, values):
        values[key] = _current(key, params)
    return values


def _current(key: str, params: Params) -> Any:
    if key == STRENGTH:
        return 1.0
    if key.startswith(_SCHEDULE):
        return _of_schedule(key.removeprefix(_SCHEDULE), params.finetune.schedule)
    value: Any = params
    for part in key.split("."):
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


def _of_schedule(name: str, schedule: Schedule) -> Any:
    if isinstance(schedule, Piecewise) and name in {"initial", "rate", "every_epochs"}:
        first, second = schedule.values[:2]
        return {"initial": first, "rate": second / first, "every_epochs": schedule.boundaries[0]}[name]
    return getattr(schedule, name)


def apply(values: Mapping[str, Any], params: Params) -> Params:
    """Return params with the values in place.

    Raises:
        UserError: a value that params.yaml may not have.

    """
    document = params.model_dump(by_alias=True)
    if any(key.startswith(_SCHEDULE) for key in values):
        document["finetune"]["schedule"] = _schedule(values, params)
    for key, value in values.items():
        if key == STRENGTH:
            document["augment"] = _scaled(document["augment"], value)
        elif not key.startswith(_SCHEDULE):
            _put(document, key.split("."), value)
    return parse_params(document, "tune.space")


def _put(document: Any, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        if isinstance(document[part], tuple):
            document[part] = list(document[part])
        document = document[part]
    document[int(path[-1]) if path[-1].isdigit() else path[-1]] = value


def _scaled(ranges: Mapping[str, Any], strength: float) -> dict[str, Any]:
    # Six digits: 0.2 * 1.5 is 0.30000000000000004, which nobody wants in params.yaml.
    return {
        name: value if isinstance(value, bool) else float(f"{value * strength:.6g}") for name, value in ranges.items()
    }


def _schedule(values: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """Return the schedule's section; what the values leave open is params.yaml's, or does nothing."""
    now = params.finetune.schedule
    kind = values.get(KIND, now.kind)
    if kind not in OF_KIND:
        raise UserError(f"a schedule is {', '.join(OF_KIND)}")
    settled = {
        "initial": first_rate(now),
        "rate": 1.0,
        "every_epochs": 1.0,
        "final": 0.0,
        "warmup_epochs": now.warmup_epochs,
    }
    if kind == now.kind:
        settled |= {name: _of_schedule(name, now) for name in OF_KIND[kind]}
    settled |= {
        key.removeprefix(_SCHEDULE): value for key, value in values.items() if key.startswith(_SCHEDULE) and key != KIND
    }
    if kind != "piecewise":
        return {"kind": kind, **{name: settled[name] for name in OF_KIND[kind]}}
    return _staircase(settled, params.finetune.epochs)


def _staircase(settled: Mapping[str, float], epochs: int) -> dict[str, Any]:
    """Return a piecewise schedule that falls by `rate` every `every_epochs`."""
    steps = max(1, -(-epochs // settled["every_epochs"]) - 1)
    boundaries = tuple(settled["every_epochs"] * number for number in range(1, int(steps) + 1))
    rates = tuple(settled["initial"] * settled["rate"] ** number for number in range(len(boundaries) + 1))
    return {
        "kind": "piecewise",
        "boundaries": boundaries,
        "values": rates,
        "warmup_epochs": settled["warmup_epochs"],
    }


def compressed(schedule: Schedule, share: float) -> Schedule:
    """Return the same course of the rate within `share` of the epochs."""
    changes: dict[str, Any] = {"warmup_epochs": schedule.warmup_epochs * share}
    if isinstance(schedule, Piecewise):
        changes["boundaries"] = tuple(boundary * share for boundary in schedule.boundaries)
    elif schedule.kind == "exponential":
        changes["every_epochs"] = schedule.every_epochs * share
    return schedule.model_copy(update=changes)


def scaled(schedule: Schedule, factor: float) -> Schedule:
    """Return the schedule with every rate multiplied."""
    changes: dict[str, Any]
    if isinstance(schedule, Piecewise):
        changes = {"values": tuple(value * factor for value in schedule.values)}
    else:
        changes = {"initial": schedule.initial * factor}
        if schedule.kind == "cosine":
            changes["final"] = schedule.final * factor
    return schedule.model_copy(update=changes)


def contains(key: str, entry: Entry, value: Any, params: Params) -> bool:
    """Whether an entry allows a value."""
    made = distribution(key, entry, params)
    try:
        return bool(made._contains(made.to_internal_repr(value)))  # noqa: SLF001 -- Optuna has no public question for it
    except (ValueError, TypeError):
        return False


def check(space: Space, params: Params) -> None:
    """Check that every value that may be drawn makes sense, and that the search begins inside the space.

    Raises:
        UserError: naming each entry that is wrong, and what is allowed.

    """
    problems = [problem for key, entry in space.items() if (problem := _problem(key, entry, space, params))]
    if not space:
        problems = ["tune.space: empty; name at least one key: " + ", ".join(KEYS)]
    if not problems:
        problems = [
            f"tune.space.{key}: leaves out {value!r}, which params.yaml has now and the first trial tries: widen it"
            for key, value in baseline(space, params).items()
            if not contains(key, space[key], value, params)
        ]
    if problems:
        raise UserError("params.yaml is wrong:\n" + "\n".join(f"  {problem}" for problem in problems))


def _problem(key: str, entry: Entry, space: Space, params: Params) -> str:
    if key not in KEYS:
        return f"tune.space.{key}: not searched; known here: {', '.join(KEYS)}"
    name = key.removeprefix(_SCHEDULE)
    kinds = _kinds(space, params)
    if key not in {name, KIND} and not any(name in OF_KIND.get(kind, ()) for kind in kinds):
        return f"tune.space.{key}: a schedule of kind {' or '.join(map(str, kinds))} has no {name}"
    extremes = (entry.low, entry.high) if isinstance(entry, Interval) else entry.choices
    for value in extremes:
        try:
            apply(_with(key, value, space, params), params)
        except UserError as error:
            return f"tune.space.{key}: {value!r} is not possible: {str(error).splitlines()[-1].strip()}"
    return ""


def _kinds(space: Space, params: Params) -> tuple[Any, ...]:
    entry = space.get(KIND)
    return entry.choices if isinstance(entry, Choices) else (params.finetune.schedule.kind,)


def _with(key: str, value: Any, space: Space, params: Params) -> Values:
    """Return a value together with a schedule's kind that has such a key."""
    name = key.removeprefix(_SCHEDULE)
    if key in {name, KIND}:
        return {key: value}
    return {KIND: next(kind for kind in _kinds(space, params) if name in OF_KIND.get(kind, ())), key: value}
