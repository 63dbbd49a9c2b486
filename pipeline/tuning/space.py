"""The search space: the entries of `tune.space`, and params.yaml with values of it in place.

`Values` are {dotted key: value}. Some keys are not keys of params.yaml: `train.dropout.0` and `.1` are items of a list,
`augment.strength` scales every range of augmentation (1.0: as in params.yaml).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.core.backbone_table import FEATURES_FILE
from pipeline.core.errors import UserError
from pipeline.params.backbone import UNFREEZE_POINTS
from pipeline.params.root import Params, parse_params
from pipeline.params.tune import Choices, Entry, Interval
from pipeline.tuning import schedule_values
from pipeline.tuning.schedule_values import KEYS_OF_KIND, KIND, PREFIX, STAIRS

Values = dict[str, Any]
Space = Mapping[str, Entry]
Distribution = CategoricalDistribution | IntDistribution | FloatDistribution

STRENGTH = "augment.strength"
UNFREEZE = "finetune.unfreeze"

# In the order in which they are drawn: the kind of schedule decides which keys it has.
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
    *(PREFIX + name for name in (*STAIRS, "final")),
    STRENGTH,
)

# nsfw_model's values, from which those of params.yaml may differ.
_ARTICLE = {"train.dropout.0": 0.5, "train.dropout.1": 0.25, "train.l2": 0.0005, STRENGTH: 1.0}
_ARTICLE_POINT = {"inception_v3": "mixed5"}


def draw(trial: Any, space: Space, params: Params) -> Values:
    """Let Optuna choose a value for every key that applies."""
    values: Values = {}
    for key in _applicable(space, params, values):
        values[key] = _suggest(trial, key, space[key], params)
    return values


def _applicable(space: Space, params: Params, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the space's keys in order; the caller fills `values` meanwhile, which tell the kind of schedule."""
    for key in KEYS:
        if key not in space:
            continue
        name = key.removeprefix(PREFIX)
        kind = values.get(KIND, params.finetune.schedule.kind)
        if key in {KIND, name} or name in KEYS_OF_KIND[kind]:
            yield key


def _suggest(trial: Any, key: str, entry: Entry, params: Params) -> Any:
    made = distribution(key, entry, params)
    if isinstance(made, CategoricalDistribution):
        return trial.suggest_categorical(key, made.choices)
    if isinstance(made, IntDistribution):
        return trial.suggest_int(key, made.low, made.high, step=made.step, log=made.log)
    return trial.suggest_float(key, made.low, made.high, step=made.step, log=made.log)


def distribution(key: str, entry: Entry, params: Params) -> Distribution:
    """Return an entry as an Optuna distribution; unfreeze points are ordered by depth, the deepest one last."""
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
    """Return the trials that come before any draw: the article's values, then params.yaml's where they differ."""
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
    if key.startswith(PREFIX):
        return schedule_values.current_value(key.removeprefix(PREFIX), params.finetune.schedule)
    value: Any = params
    for part in key.split("."):
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


def apply(values: Mapping[str, Any], params: Params) -> Params:
    """Return params with the values in place.

    Raises:
        UserError: a value is not valid in params.yaml.

    """
    document = params.model_dump(by_alias=True)
    if any(key.startswith(PREFIX) for key in values):
        document["finetune"]["schedule"] = schedule_values.section(values, params)
    for key, value in values.items():
        if key == STRENGTH:
            document["augment"] = _scaled(document["augment"], value)
        elif not key.startswith(PREFIX):
            _put(document, key.split("."), value)
    return parse_params(document, "tune.space")


def _put(document: Any, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        if isinstance(document[part], tuple):
            document[part] = list(document[part])
        document = document[part]
    document[int(path[-1]) if path[-1].isdigit() else path[-1]] = value


def _scaled(ranges: Mapping[str, Any], strength: float) -> dict[str, Any]:
    # Six digits, because 0.2 * 1.5 is 0.30000000000000004.
    return {
        name: value if isinstance(value, bool) else float(f"{value * strength:.6g}") for name, value in ranges.items()
    }


def contains(key: str, entry: Entry, value: Any, params: Params) -> bool:
    """Whether an entry allows a value."""
    made = distribution(key, entry, params)
    try:
        return bool(made._contains(made.to_internal_repr(value)))  # noqa: SLF001 -- Optuna has no public method for it
    except (ValueError, TypeError):
        return False


def check(space: Space, params: Params) -> None:
    """Check that every value that may be drawn is valid, and that the space holds params.yaml's own values.

    Raises:
        UserError: names each wrong entry, and what is allowed.

    """
    if params.backbone.name == FEATURES_FILE:
        raise UserError(
            "`nsfw tune` fine-tunes, and a features file has no layers to train: set another backbone.name."
        )
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
    name = key.removeprefix(PREFIX)
    kinds = _kinds(space, params)
    if key not in {name, KIND} and not any(name in KEYS_OF_KIND.get(kind, ()) for kind in kinds):
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
    """Return a value, with a kind of schedule that has its key if it is one of a schedule's."""
    name = key.removeprefix(PREFIX)
    if key in {name, KIND}:
        return {key: value}
    return {KIND: next(kind for kind in _kinds(space, params) if name in KEYS_OF_KIND.get(kind, ())), key: value}
