"""Limits of a usable picture, and of the cost of decoding it."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.params.section import MOST_MB, Count, FromList, Positive, Section

PictureFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF"]  # images.limits.FORMATS


class Catalog(Section):
    """Limits of a usable picture, and of the time and memory that a worker may use for one.

    `formats`: those that are opened. A JPEG may hold several pictures, a PNG may be animated.
    """

    max_megapixels: Positive
    min_side: Count
    max_aspect: Annotated[float, Field(ge=1.0)]
    max_frames: Count
    formats: Annotated[tuple[PictureFormat, ...], FromList] = Field(min_length=1)
    seconds: Positive
    memory_mb: Annotated[int, Field(ge=256, le=MOST_MB)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.formats)) < len(self.formats):
            raise ValueError("formats names a format twice")
        return self

    @property
    def limits(self) -> dict[str, Any]:
        """The fields of `images.limits.Limits`, by name."""
        return {
            "max_pixels": int(self.max_megapixels * 1e6),
            "min_side": self.min_side,
            "max_aspect": self.max_aspect,
            "max_frames": self.max_frames,
            "formats": self.formats,
        }
