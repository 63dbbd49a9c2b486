"""Keeps those messages of TensorFlow off the screen that a user does not need."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path

from pipeline.core import import_hooks

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_GPU_DEVICES = ("nvidia*", "dxg", "nvmap")  # in /dev: of NVIDIA's driver, of Windows' (WSL), of a Jetson
_GREETINGS = (
    r"All log messages before absl::InitializeLog\(\) is called",
    r"oneDNN custom operations are on",
    r"This TensorFlow binary is optimized to use available CPU instructions",
    r"To enable the following instructions: ",
    r"Unable to register cu\w+ factory",  # TensorFlow registers these of CUDA twice, and works all the same
    r"computation placer already registered",
)
_NO_GPU = r"Could not find cuda drivers on your machine, GPU will not be used"


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Return whether the machine has a GPU that TensorFlow's packages can compute on."""
    return any(next(devices.glob(pattern), None) for pattern in _GPU_DEVICES)


def silence() -> None:
    """Have TensorFlow log errors only, in this process and in those that it starts.

    Call it before anything imports TensorFlow. Without a GPU not even errors are logged: they are failed searches for
    one (real errors raise in Python too). A TF_CPP_MIN_LOG_LEVEL that the user has set stays; 0 or 1 shows everything.
    """
    gpu = has_gpu()
    level = os.environ.setdefault(LEVEL, "2" if gpu else "3")
    if level not in {"0", "1"}:
        # Its libraries write to file descriptor 2 while they are loaded, before they read any level or variable.
        import_hooks.run_within("tensorflow", _dropping(gpu=gpu))


@cache
def _dropping(*, gpu: bool) -> Callable[[], AbstractContextManager[None]]:
    return lambda: drop_lines(noise_pattern(gpu=gpu))


def noise_pattern(*, gpu: bool) -> re.Pattern[bytes]:
    """Return the pattern of lines to drop. That there is no driver is among them only if there is no GPU."""
    return re.compile("|".join(_GREETINGS if gpu else (*_GREETINGS, _NO_GPU)).encode())


@contextmanager
def drop_lines(pattern: re.Pattern[bytes]) -> Iterator[None]:
    """Hold back what is written to file descriptor 2; write it at the end, without the lines that match `pattern`."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    _flush()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not pattern.search(line):
                    with suppress(OSError):  # its reader is gone
                        os.write(2, line)


def _flush() -> None:
    with suppress(AttributeError, ValueError, OSError):  # stderr is None or closed, or its reader is gone
        sys.stderr.flush()
