"""The training of the head."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.section import ClassWeights, Count, Dropout, FromList, Rate, Section, Smoothing


class Train(Section):
    """The training of the head on the frozen backbone."""

    epochs: Count
    batch_size: Count
    optimizer: Literal["sgd", "adam"]
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    dropout: Annotated[tuple[Dropout, Dropout], FromList]
    l2: Annotated[float, Field(ge=0.0)]
    label_smoothing: Smoothing
    class_weights: ClassWeights
    patience: Count | None
