"""The loss and the optimizer of a training."""

from typing import Any, Literal

import keras

from pipeline.model.schedule import ByBatch


def compile_model(
    model: Any,
    rate: Any,
    optimizer: Literal["sgd", "adam"],
    momentum: float,
    *,
    label_smoothing: float = 0.0,
    clip_norm: float | None = None,
    parts: int = 1,
    jit: bool = False,
    loss_scaling: bool = False,
) -> None:
    """Compile for integer labels.

    Args:
        model: pixels or features in, probabilities out.
        rate: the learning rate, a number or a schedule by step (of a whole batch).
        optimizer: its name.
        momentum: of sgd; adam ignores it.
        label_smoothing: the share of a label that is spread over all classes (Szegedy et al. 2016).
        clip_norm: the largest norm of all gradients together; None: no limit.
        parts: how many micro-batches' gradients are averaged before a step.
        jit: compile the step with XLA.
        loss_scaling: scale the loss up and the gradients down again, so that float16 does not lose small ones.

    """
    if parts > 1 and isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = ByBatch(rate, parts)
    more: dict[str, Any] = {"global_clipnorm": clip_norm, "gradient_accumulation_steps": parts if parts > 1 else None}
    made = keras.optimizers.Adam(rate, **more)
    if optimizer == "sgd":
        made = keras.optimizers.SGD(rate, momentum=momentum, **more)
    if loss_scaling:
        made = keras.optimizers.LossScaleOptimizer(made)
    model.compile(optimizer=made, loss=_loss(label_smoothing), jit_compile=jit, auto_scale_loss=False)


def _loss(smoothing: float) -> Any:
    if smoothing == 0.0:
        return keras.losses.SparseCategoricalCrossentropy()

    def smoothed(label: Any, probabilities: Any) -> Any:
        target = keras.ops.one_hot(keras.ops.reshape(label, (-1,)), probabilities.shape[-1], dtype="float32")
        return keras.losses.categorical_crossentropy(target, probabilities, label_smoothing=smoothing)

    return smoothed
