"""The learning rate by step: Keras' schedules after a linear warm-up."""

from typing import Any, Self

import keras

from pipeline.params.schedule import Cosine, Exponential, Schedule


@keras.saving.register_keras_serializable("nsfw")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras has no types
    """`inner(step)`, scaled by (step + 1) / steps over the first `steps` steps (Goyal et al. 2017, gradual warm-up)."""

    def __init__(self, inner: Any, steps: int) -> None:
        super().__init__()
        self.inner, self.steps = inner, steps

    def __call__(self, step: Any) -> Any:
        """Return the rate at `step` (from 0)."""
        step = keras.ops.cast(step, "float32")
        return self.inner(step) * keras.ops.minimum(1.0, (step + 1.0) / max(1, self.steps))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this schedule."""
        return {"inner": keras.saving.serialize_keras_object(self.inner), "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Rebuild what `get_config` described."""
        return cls(keras.saving.deserialize_keras_object(config["inner"]), config["steps"])


@keras.saving.register_keras_serializable("nsfw")
class ByBatch(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras has no types
    """`inner(step)` for an optimizer that counts micro-batches, `parts` of which make a step."""

    def __init__(self, inner: Any, parts: int) -> None:
        super().__init__()
        self.inner, self.parts = inner, parts

    def __call__(self, step: Any) -> Any:
        """Return the rate at micro-batch number `step` (from 0)."""
        return self.inner(keras.ops.cast(step, "int64") // self.parts)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this schedule."""
        return {"inner": keras.saving.serialize_keras_object(self.inner), "parts": self.parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Rebuild what `get_config` described."""
        return cls(keras.saving.deserialize_keras_object(config["inner"]), config["parts"])


def build(schedule: Schedule, steps_per_epoch: int, epochs: int) -> WarmUp:
    """Return the learning rate by step for a run of `epochs`.

    exponential: initial * rate ** (epoch / every_epochs); cosine: from initial to final over the run; piecewise:
    values[i] until epoch boundaries[i].
    """
    return WarmUp(_inner(schedule, steps_per_epoch, epochs), round(schedule.warmup_epochs * steps_per_epoch))


def _inner(schedule: Schedule, steps: int, epochs: int) -> Any:
    if isinstance(schedule, Exponential):
        decay = schedule.every_epochs * steps
        return keras.optimizers.schedules.ExponentialDecay(schedule.initial, decay, schedule.rate)
    if isinstance(schedule, Cosine):
        alpha = schedule.final / schedule.initial
        return keras.optimizers.schedules.CosineDecay(schedule.initial, epochs * steps, alpha)
    # In Keras a boundary's own step still has the value before it.
    bounds = [round(boundary * steps) - 1 for boundary in schedule.boundaries]
    return keras.optimizers.schedules.PiecewiseConstantDecay(bounds, list(schedule.values))
