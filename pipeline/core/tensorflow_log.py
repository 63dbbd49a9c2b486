"""Keep TensorFlow's chatter off the screen, and nothing that a person has to read."""

import importlib.abc
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

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
    """Whether the machine shows a GPU that TensorFlow's packages can compute on."""
    return any(next(devices.glob(pattern), None) for pattern in _GPU_DEVICES)


def quiet() -> None:
    """Have TensorFlow log errors alone, from its import on, in this process and in those that it starts.

    Call it before anything imports TensorFlow. Without a GPU its errors are but failed looks for one (a real one raises
    in Python too): then none is logged. TF_CPP_MIN_LOG_LEVEL stays as the user has set it; 0 or 1 shows all there is.
    """
    gpu = has_gpu()
    level = os.environ.setdefault(LEVEL, "2" if gpu else "3")
    if level in {"0", "1"} or "tensorflow" in sys.modules:
        return
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(chatter(gpu=gpu)))


def chatter(*, gpu: bool) -> re.Pattern[bytes]:
    """Return what matches a line that says nothing to a person; that there is no driver does, where there is a GPU."""
    return re.compile("|".join(_GREETINGS if gpu else (*_GREETINGS, _NO_GPU)).encode())


@contextmanager
def without_lines(pattern: re.Pattern[bytes]) -> Iterator[None]:
    """Write what arrives on file descriptor 2 meanwhile when it is over, without the lines that `pattern` is in."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
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
                    with suppress(OSError):  # nobody reads stderr any more
                        os.write(2, line)


def _flush() -> None:
    with suppress(AttributeError, ValueError, OSError):  # None, closed, or read by nobody
        sys.stderr.flush()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `tensorflow` as the other finders do, once, and has it imported `without_lines`.

    Its libraries write their greetings to file descriptor 2 as they are loaded, before they look at any level or
    variable; and whoever comes first imports it, as often as not Keras or MLflow.
    """

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 -- the import system's signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return TensorFlow's spec; None for any other module."""
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._pattern)
        return spec


class _Loader(importlib.abc.Loader):
    """Another loader, but for the lines that loading writes."""

    def __init__(self, loader: Any, pattern: re.Pattern[bytes]) -> None:
        self._loader, self._pattern = loader, pattern

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as the other loader does."""
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Import the module; the other loader is in its place again for whoever looks at it."""
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        with without_lines(self._pattern):
            self._loader.exec_module(module)
