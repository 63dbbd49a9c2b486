"""The training of the head."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.params.section import ClassWeights, Count, Dropout, Rate, Section, Smoothing


class Train(Section):
    """The training of the head on the frozen backbone."""

    epochs: Count
    batch_size: Count
    optimizer: Literal["sgd", "adam"]
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    dropout: tuple[Dropout, Dropout]
    l2: Annotated[float, Field(ge=0.0)]
    label_smoothing: Smoothing
    class_weights: ClassWeights
    patience: Count | None

    @field_validator("dropout", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value
