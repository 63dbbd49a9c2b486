"""Values of `finetune.schedule` in a search: read from a schedule, put into one, and adapted to a short training."""

from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import UserError
from pipeline.params.root import Params
from pipeline.params.schedule import Piecewise, Schedule, first_rate

PREFIX = "finetune.schedule."
KIND = f"{PREFIX}kind"
STAIRS = ("initial", "rate", "every_epochs", "warmup_epochs")
KEYS_OF_KIND = {"exponential": STAIRS, "cosine": ("initial", "final", "warmup_epochs"), "piecewise": STAIRS}


def current_value(name: str, schedule: Schedule) -> Any:
    """Return a schedule's value of a searched key; a piecewise one is read as a staircase by its first two steps."""
    if isinstance(schedule, Piecewise) and name in {"initial", "rate", "every_epochs"}:
        first, second = schedule.values[:2]
        return {"initial": first, "rate": second / first, "every_epochs": schedule.boundaries[0]}[name]
    return getattr(schedule, name)


def section(values: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """Return `finetune.schedule` with the values (by dotted key) in place.

    Keys that the values leave open keep params.yaml's value; where its schedule is of another kind, one without effect.

    Raises:
        UserError: no such kind.

    """
    current = params.finetune.schedule
    kind = values.get(KIND, current.kind)
    if kind not in KEYS_OF_KIND:
        raise UserError(f"a schedule is {', '.join(KEYS_OF_KIND)}")
    # From the least specific to the most: without effect, as params.yaml has it, as the search has drawn it.
    settings = {
        "initial": first_rate(current),
        "rate": 1.0,
        "every_epochs": 1.0,
        "final": 0.0,
        "warmup_epochs": current.warmup_epochs,
    }
    if kind == current.kind:
        settings |= {name: current_value(name, current) for name in KEYS_OF_KIND[kind]}
    settings |= {
        key.removeprefix(PREFIX): value for key, value in values.items() if key.startswith(PREFIX) and key != KIND
    }
    if kind != "piecewise":
        return {"kind": kind, **{name: settings[name] for name in KEYS_OF_KIND[kind]}}
    return _staircase(settings, params.finetune.epochs)


def _staircase(settings: Mapping[str, float], epochs: int) -> dict[str, Any]:
    """Return a piecewise schedule that falls by `rate` every `every_epochs`."""
    steps = max(1, -(-epochs // settings["every_epochs"]) - 1)
    boundaries = tuple(settings["every_epochs"] * number for number in range(1, int(steps) + 1))
    rates = tuple(settings["initial"] * settings["rate"] ** number for number in range(len(boundaries) + 1))
    return {
        "kind": "piecewise",
        "boundaries": boundaries,
        "values": rates,
        "warmup_epochs": settings["warmup_epochs"],
    }


def compress(schedule: Schedule, share: float) -> Schedule:
    """Return the same course of the rate within `share` (0..1) of the epochs."""
    changes: dict[str, Any] = {"warmup_epochs": schedule.warmup_epochs * share}
    if isinstance(schedule, Piecewise):
        changes["boundaries"] = tuple(boundary * share for boundary in schedule.boundaries)
    elif schedule.kind == "exponential":
        changes["every_epochs"] = schedule.every_epochs * share
    return schedule.model_copy(update=changes)


def scale_rates(schedule: Schedule, factor: float) -> Schedule:
    """Return the schedule with every rate multiplied by `factor`."""
    changes: dict[str, Any]
    if isinstance(schedule, Piecewise):
        changes = {"values": tuple(value * factor for value in schedule.values)}
    else:
        changes = {"initial": schedule.initial * factor}
        if schedule.kind == "cosine":
            changes["final"] = schedule.final * factor
    return schedule.model_copy(update=changes)
