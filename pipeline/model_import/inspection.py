"""What the inspection of someone else's model tells, and how it refuses."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import UserError, explain

Format = Literal["tfjs", "keras", "saved_model", "onnx"]
Layout = Literal["nhwc", "nchw"]

_LARGEST_SIDE = 4096  # px
_LONGEST = 1000  # characters of a reason


@dataclass(frozen=True)
class Found:
    """What a sound file says of itself.

    Attributes:
        format: which kind of file it is.
        size: side of its square input, px; None where it takes any.
        classes: how many outputs it has; None where only loading tells.
        layout: where the input has its channels.
        labels: the classes in the order of the outputs, where the file says so.

    """

    format: Format
    size: int | None
    classes: int | None
    layout: Layout = "nhwc"
    labels: tuple[str, ...] | None = None


def refused(path: Path, reason: str) -> UserError:
    """Return the error to raise: which file, and why nothing of it was loaded."""
    cut = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}..."
    shown = "".join(letter if letter.isprintable() else "?" for letter in cut)  # the file's words, for a terminal
    return UserError(f"{path} is refused, nothing of it was loaded: {shown}")


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Refuse `path` for whatever the reading of it raises: bytes of others break libraries in ways nobody has listed.

    What explains itself (a UserError, a full disk, a file that may not be read) and a lack of memory pass.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if explain(error) is not None:
            raise
        words = " ".join(str(error).split())[:300]
        raise refused(path, f"it is broken or made to break its reader ({type(error).__name__}: {words})") from error


def check_bytes(path: Path, count: int, limit: int) -> None:
    """Refuse more than `limit` bytes."""
    if count > limit:
        raise refused(path, f"{count:,} bytes, and the limit is {limit:,}. Allow more by --max-mb")


def side(path: Path, shape: Sequence[int | None], *, channels_first: bool = False) -> tuple[int | None, Layout]:
    """Return the side of a picture input (n, s, s, 3), or (n, 3, s, s) where that may be; None: any side.

    Raises:
        UserError: it is no such input.

    """
    shown = tuple(shape)
    wanted = "(n, s, s, 3)" + (" or (n, 3, s, s)" if channels_first else "")
    if len(shown) != 4:
        raise refused(path, f"its input has the shape {shown}, not that of pictures, {wanted}")
    layout: Layout = "nchw" if channels_first and shown[1] == 3 and shown[3] != 3 else "nhwc"
    height, width, channels = shown[1:] if layout == "nhwc" else (*shown[2:], shown[1])
    if channels != 3 or height != width or not (height is None or 1 <= height <= _LARGEST_SIDE):
        raise refused(path, f"its input has the shape {shown}, not that of square RGB pictures, {wanted}")
    return height, layout


def read_document(path: Path, text: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object in `text`; `name` is what to call it in a refusal of `path`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(path, f"{name} is not valid JSON ({str(error)[:100]})") from None
    if not isinstance(document, dict):
        raise refused(path, f"{name} is not a JSON object")
    return document
