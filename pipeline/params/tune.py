"""The search of hyperparameters."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline.params.section import Count, FromList, Positive, Section


class Interval(Section):
    """Numbers from low to high: integers if both are; even in the logarithm with `log`, in steps with `step`."""

    low: int | float
    high: int | float
    log: bool = False
    step: Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g}, which is not below high, {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}; with log: true it must be above 0")
        if self.log and self.step is not None:
            raise ValueError("log: true and step exclude each other")
        return self


class Choices(Section):
    """One of the given values."""

    choices: Annotated[tuple[str | int | float | bool | None, ...], FromList] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(map(repr, self.choices))) < len(self.choices):
            raise ValueError("choices holds a value twice")
        return self


def _form(entry: Any) -> str:
    return "choices" if isinstance(entry, Choices) or (isinstance(entry, dict) and "choices" in entry) else "interval"


Entry = Annotated[Annotated[Interval, Tag("interval")] | Annotated[Choices, Tag("choices")], Discriminator(_form)]


class Rung(Section):
    """Trials that train for `epochs` on the share `subset` of train."""

    trials: Count
    epochs: Count
    subset: Annotated[float, Field(gt=0.0, le=1.0)]


class Tune(Section):
    """The search by `nsfw tune`: what it varies (`space`, by dotted key), its objectives, the size of a trial.

    `trials`, `epochs` and `subset` are those of the first rung. Each of `rungs` trains the best of the one before.
    """

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    storage: Annotated[str, Field(min_length=1)]
    trials: Count
    objective: Literal["macro_recall", "unsafe_recall", "log_loss"]
    min_precision: Annotated[float, Field(gt=0.0, lt=1.0)]
    second: Literal["latency_ms", "size_mb"] | None
    sampler: Literal["tpe", "random"]
    pruner: Literal["median", "hyperband"] | None
    startup_trials: Count
    subset: Annotated[float, Field(gt=0.0, le=1.0)]
    head_epochs: Count
    epochs: Count
    rungs: Annotated[tuple[Rung, ...], FromList]
    min_steps: Count
    confirm_seeds: Annotated[int, Field(ge=2)]
    space: dict[str, Entry]

    @model_validator(mode="after")
    def _check_rungs(self) -> Self:
        if self.rungs and self.second is not None:
            raise ValueError("rungs choose by one objective: with tune.second, set tune.rungs to []")
        before = Rung(trials=self.trials, epochs=self.epochs, subset=self.subset)
        for number, rung in enumerate(self.rungs, 2):
            if rung.epochs < before.epochs or rung.subset < before.subset:
                raise ValueError(f"rung {number} has fewer epochs or pictures than the one before: each must cost more")
            before = rung
        return self
