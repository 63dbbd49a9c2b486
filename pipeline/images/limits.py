"""What a usable picture may be, and what is said of one that is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF")  # all that `Limits.formats` may name
DEFAULT_FORMATS = FORMATS[:-1]  # no browser but Safari shows a TIFF, no phone makes one
# What a version takes that was registered before versions told their formats, so that its answers do not change.
_BEFORE = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class Rejected(Exception):  # noqa: N818 -- an outcome that every caller handles, not a defect
    """A file that cannot be used: a stable `code` for counting, a `detail` for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """What a usable picture may be: pixels in all, px of its shorter side, longer side to shorter, its format.

    `formats` are names of FORMATS; a JPEG may hold several pictures (MPO), a PNG may be animated. Of an animation at
    most `max_frames` frames are looked at; all of its frames together may have so many times `max_pixels`.
    """

    max_pixels: int = 50_000_000
    min_side: int = 32
    max_aspect: float = 10.0
    formats: tuple[str, ...] = DEFAULT_FORMATS
    max_frames: int = 12

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self:
        """Read what `dataclasses.asdict` wrote; without formats, those that were taken before they could be chosen.

        None: the defaults, as a version has them that was registered before versions told their limits.

        Raises:
            KeyError, TypeError, ValueError: it is something else.

        """
        if document is None:
            return cls(formats=_BEFORE)
        formats = document.get("formats", _BEFORE) if isinstance(document, Mapping) else ()
        if isinstance(formats, str) or not formats or not set(formats) <= set(FORMATS):
            raise ValueError(f"formats {str(formats)[:200]}, known are {', '.join(FORMATS)}")
        pixels, side, aspect = document["max_pixels"], document["min_side"], document["max_aspect"]
        frames_looked_at = int(document.get("max_frames", cls.max_frames))
        return cls(int(pixels), int(side), float(aspect), tuple(formats), frames_looked_at)
