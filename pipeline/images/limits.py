"""The limits of a usable picture, and the exception for one that exceeds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF")  # all that `Limits.formats` may name
DEFAULT_FORMATS = FORMATS[:-1]  # no browser but Safari shows a TIFF, no phone makes one
# The formats of a version that was registered before versions recorded them: its answers must not change.
_BEFORE = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class Rejected(Exception):  # noqa: N818 -- an outcome that every caller handles, not a defect
    """A file cannot be used: a stable `code` for counting, a `detail` for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """The limits of a usable picture: its pixels, px of its shorter side, ratio of longer to shorter side, its format.

    `formats` are names of FORMATS; a JPEG may hold several pictures (MPO), a PNG may be animated. Of an animation at
    most `max_frames` frames are classified; all of its frames together may have max_frames * max_pixels pixels.
    """

    max_pixels: int = 50_000_000
    min_side: int = 32
    max_aspect: float = 10.0
    formats: tuple[str, ...] = DEFAULT_FORMATS
    max_frames: int = 12

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self:
        """Read the result of `dataclasses.asdict`; without formats, use those from before they could be chosen.

        None gives the defaults, for a version that was registered before versions recorded their limits.

        Raises:
            KeyError, TypeError, ValueError: the document is something else.

        """
        if document is None:
            return cls(formats=_BEFORE)
        formats = document.get("formats", _BEFORE) if isinstance(document, Mapping) else ()
        if isinstance(formats, str) or not formats or not set(formats) <= set(FORMATS):
            raise ValueError(f"formats {str(formats)[:200]}, known are {', '.join(FORMATS)}")
        pixels, side, aspect = document["max_pixels"], document["min_side"], document["max_aspect"]
        frames_looked_at = int(document.get("max_frames", cls.max_frames))
        return cls(int(pixels), int(side), float(aspect), tuple(formats), frames_looked_at)
