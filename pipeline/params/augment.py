"""The random transforms."""

from typing import Annotated

from pydantic import Field

from pipeline.params.section import Section


class Augment(Section):
    """Ranges of the article's random transforms, in the units of Keras' ImageDataGenerator, and of a random crop."""

    rotation: Annotated[float, Field(ge=0.0, le=180.0)]
    shift: Annotated[float, Field(ge=0.0, lt=1.0)]
    shear: Annotated[float, Field(ge=0.0, lt=90.0)]
    zoom: Annotated[float, Field(ge=0.0, lt=1.0)]
    flip: bool
    channel_shift: Annotated[float, Field(ge=0.0, le=255.0)]
    crop: Annotated[float, Field(ge=0.0, le=0.9)]
