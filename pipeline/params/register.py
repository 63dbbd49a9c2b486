"""The registered model and its gates."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.params.section import Positive, Section, Share


class Drop(Section):
    """How much worse than production a challenger may be on the same test pictures, in shares (0.01 is a point).

    `risk`: the tolerated probability, by paired bootstrap, that the true drop is larger; 0.5 judges by the drop seen.
    """

    unsafe_recall: Share
    macro_recall: Share
    class_recall: Share
    risk: Annotated[float, Field(gt=0.0, lt=1.0)]


class Gates(Section):
    """What a version must satisfy before it may be production; None, or false, switches a gate off."""

    class_recall: Share | None
    unsafe_recall: Share | None
    drop: Drop | None
    slice_gap: Share | None
    calibration: Share | None
    robustness: Share | None
    reports: bool
    latency_ms: Positive | None
    size_mb: Positive | None
    test_set: bool
    leaks: Share | None
    clean: bool
    finished: bool


class Register(Section):
    """Where the model goes in MLflow's registry, and what it must satisfy to become production."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    alias: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    production: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    gates: Gates

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alias == self.production:
            raise ValueError(
                f"alias and production are both {self.alias}; a new version would be in production at once"
            )
        return self
