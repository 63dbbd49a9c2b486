"""The fine-tuning."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.schedule import Schedule
from pipeline.params.section import MOST_MB, ClassWeights, Count, Positive, Section, Smoothing


class Finetune(Section):
    """The training of the backbone, unfrozen from a point on, at a decaying rate."""

    epochs: Count
    batch_size: Count
    optimizer: Literal["sgd", "adam"]
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    unfreeze: str
    batchnorm: Literal["frozen", "trained"]
    schedule: Schedule
    clip_norm: Positive | None
    label_smoothing: Smoothing
    class_weights: ClassWeights
    patience: Count | None
    keep_start: bool
    precision: Literal["auto", "float32", "float16", "bfloat16"]
    jit_compile: bool | Literal["auto"]
    augment_on: Literal["cpu", "accelerator"]
    memory_mb: Annotated[int, Field(ge=0, le=MOST_MB)]
