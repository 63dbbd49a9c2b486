"""Mistakes that a user can correct, and how they become a message and an exit code."""

import errno
import logging
import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """A user's mistake. The message says what is wrong, where, and what to do; it is shown without a traceback."""


class StopRequestedError(UserError):
    """The process was asked to stop, and saved its state; the message tells how to continue."""


class DivergedError(UserError):
    """A training's loss, or its model's output, is NaN or infinite."""


# An error about a path is for the user to correct; an error without a path is a defect of the program.
_ABOUT_A_PATH = {
    errno.ENOENT: "it does not exist, or was removed while in use",
    errno.EISDIR: "it is a folder where a file is wanted. Name another path, or move the folder away",
    errno.ENOTDIR: "a part of the path is a file where a folder is wanted. Name another path, or move the file away",
    errno.EEXIST: "it exists already. Name another path, or move it away",
    errno.ENOTEMPTY: "it is a folder that is not empty. Name another path, or move the folder away",
    errno.ENAMETOOLONG: "the name is too long for the file system",
    errno.ELOOP: "it is a link that leads back to itself",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the device cannot read or write it (input/output error)",
    errno.ENXIO: "it is a pipe or a device, not a file",
}


def explain(error: BaseException) -> str | None:
    """Return the message that a user should read for `error`; None if it is a defect of the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}; nothing half-written was left behind. Free some space and run this again."
    if isinstance(error, PermissionError):
        return f"permission denied: {error.filename}. Give this user access to it and run this again."
    if type(error).__name__ == "DataLossError":  # TensorFlow's, compared by name because importing it takes seconds
        return "a file of build/packed/ is damaged. Delete build/packed and run `dvc repro pack`, which makes it again."
    if isinstance(error, OSError) and error.filename is not None and error.errno in _ABOUT_A_PATH:
        return f"{_path(error.filename)}: {_ABOUT_A_PATH[error.errno]}."
    return None


def _path(filename: object) -> str:
    return os.fsdecode(filename) if isinstance(filename, str | bytes | os.PathLike) else str(filename)


def run(main: Callable[[], None], *, level: int = logging.INFO) -> None:
    """Run `main()` as a program: exit 0 when done, 1 with one message on a user's mistake.

    Logs from `level` on to stderr. An error that is a defect of the program keeps its traceback.
    """
    logging.basicConfig(level=level, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        main()
    except Exception as error:
        message = explain(error)
        if message is None:
            error.add_note("This is a defect of the program, not a mistake of yours. Report it with this traceback.")
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)
