"""What an inspection finds out about a model from elsewhere, and how it refuses a file."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import UserError, explain

# An inspection tells `tfjs_graph` from `tfjs` and `keras_2` from `keras`; a user need not.
Format = Literal["tfjs", "tfjs_graph", "keras", "keras_2", "saved_model", "onnx"]
Layout = Literal["nhwc", "nchw"]

_LARGEST_SIDE = 4096  # px
_LONGEST = 1000  # maximum characters of a reason


@dataclass(frozen=True)
class ModelInfo:
    """What a harmless file states about its model.

    Attributes:
        format: of the file.
        size: side of its square input in pixels; None if it takes any.
        classes: number of outputs; None if only loading the model would tell.
        layout: axis order of the input.
        labels: the classes in the order of the outputs; None if the file does not state them.

    """

    format: Format
    size: int | None
    classes: int | None
    layout: Layout = "nhwc"
    labels: tuple[str, ...] | None = None


def refusal(path: Path, reason: str) -> UserError:
    """Return the error to raise for a refused file; it says why, and that nothing was loaded."""
    cut = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}..."
    # The file's texts must not control the terminal.
    shown = "".join(letter if letter.isprintable() else "?" for letter in cut)
    return UserError(f"{path} is refused, nothing of it was loaded: {shown}")


@contextmanager
def refuse_on_error(path: Path) -> Iterator[None]:
    """Refuse `path` for any error in the block, as hostile bytes can make libraries raise anything.

    Errors that explain themselves (a UserError, a full disk, an unreadable file) and MemoryError pass through.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if explain(error) is not None:
            raise
        words = " ".join(str(error).split())[:300]
        raise refusal(path, f"it is broken or made to break its reader ({type(error).__name__}: {words})") from error


def check_bytes(path: Path, count: int, limit: int) -> None:
    """Check a size in bytes.

    Raises:
        UserError: it is above `limit`.

    """
    if count > limit:
        raise refusal(path, f"{count:,} bytes, and the limit is {limit:,}. Allow more by --max-mb")


def side(path: Path, shape: Sequence[int | None], *, channels_first: bool = False) -> tuple[int | None, Layout]:
    """Return side and layout of a picture input (n, s, s, 3), or with `channels_first` also (n, 3, s, s).

    The side is None if the input takes any.

    Raises:
        UserError: the shape is another.

    """
    shown = tuple(shape)
    wanted = "(n, s, s, 3)" + (" or (n, 3, s, s)" if channels_first else "")
    if len(shown) != 4:
        raise refusal(path, f"its input has the shape {shown}, not that of pictures, {wanted}")
    layout: Layout = "nchw" if channels_first and shown[1] == 3 and shown[3] != 3 else "nhwc"
    height, width, channels = shown[1:] if layout == "nhwc" else (*shown[2:], shown[1])
    if channels != 3 or height != width or not (height is None or 1 <= height <= _LARGEST_SIDE):
        raise refusal(path, f"its input has the shape {shown}, not that of square RGB pictures, {wanted}")
    return height, layout


def read_document(path: Path, text: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Raises:
        UserError: it is none; the message refuses `path` and calls the text `name`.

    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(path, f"{name} is not valid JSON ({str(error)[:100]})") from None
    if not isinstance(document, dict):
        raise refusal(path, f"{name} is not a JSON object")
    return document
