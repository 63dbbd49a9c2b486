"""Mistakes that a user can mend, and the one place that turns them into a message and an exit code."""

import errno
import logging
import sys
from collections.abc import Callable


class UserError(Exception):
    """What went wrong, which file, key or row it concerns, and the way out. Shown without a traceback."""


class StopRequestedError(UserError):
    """Someone asked the process to stop, and it did so in good order; the message tells how to go on."""


class DivergedError(UserError):
    """A training's loss, or its model's output, is NaN or infinite."""


def explain(error: BaseException) -> str | None:
    """Return the message that a user should read for `error`, or None where it is a defect of ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}; nothing half-written was left behind. Free some space and run this again."
    if isinstance(error, PermissionError):
        return f"permission denied: {error.filename}. Give this user access to it and run this again."
    return None


def run(main: Callable[[], None], *, level: int = logging.INFO) -> None:
    """Run `main()` as a program: exit 0 when done, 1 with one clear message on a user's mistake.

    `level` is the least that is logged, to stderr.
    """
    logging.basicConfig(level=level, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        main()
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)
