"""Runs the first import of a module within a context manager; makes imports of large libraries faster."""

import gc
import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Keras imports both if they are installed, for functions that nothing here calls: a quarter of the time of its import.
_OPTIONAL_FOR_KERAS = frozenset({"matplotlib", "sklearn"})
_IMPORT_KERAS = ("tensorflow", "keras")
_LARGE = (*_IMPORT_KERAS, "great_expectations", "mlflow", "optuna", "pandas", "scipy", "sklearn")


def run_within(name: str, context: Callable[[], AbstractContextManager[None]]) -> None:
    """Have the first import of the top-level module `name` run within `context()`; later ones find it imported.

    A hook is needed because any module may be the first to import it, a library's too. Nothing happens where it has
    been imported, or the same context waits for it already. Several contexts of one module are entered in the reverse
    order of the calls.
    """
    finder = _Finder(name, context)
    if name not in sys.modules and finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)


def speed_up_imports() -> None:
    """Have TensorFlow and Keras do without libraries that they need not, and large libraries without the collector."""
    for name in _IMPORT_KERAS:
        run_within(name, _without_optional)
    for name in _LARGE:
        run_within(name, uncollected)


def _without_optional() -> AbstractContextManager[None]:
    return hidden(_OPTIONAL_FOR_KERAS)


@contextmanager
def uncollected() -> Iterator[None]:
    """Let the garbage collector wait, and have it disregard for good what exists at the end.

    An import creates hundreds of thousands of objects that live as long as the process. To look through them again and
    again is a quarter of the time of TensorFlow's import, and of each full collection after it.
    """
    if not gc.isenabled():  # within another one
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def hidden(names: frozenset[str]) -> Iterator[None]:
    """Make imports of the top-level modules `names` fail in this thread, unless they have been imported.

    Other threads and later imports are not affected.
    """
    finder = _Hiding(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _NameFinder(importlib.abc.MetaPathFinder):
    """Looks at a module's full name alone."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 -- the import system's signature
        target: ModuleType | None = None,  # noqa: ARG002 -- the import system's signature
    ) -> ModuleSpec | None:
        return self.spec_of(fullname)

    def spec_of(self, fullname: str) -> ModuleSpec | None:
        """Return the module's spec; None: the next finder looks."""
        raise NotImplementedError


class _Hiding(_NameFinder):
    def __init__(self, names: frozenset[str]) -> None:
        self._names, self._thread = names, threading.get_ident()

    def spec_of(self, fullname: str) -> None:
        if fullname in self._names and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


class _Finder(_NameFinder):
    def __init__(self, name: str, context: Callable[[], AbstractContextManager[None]]) -> None:
        self._name, self._context = name, context

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Finder) and (self._name, self._context) == (other._name, other._context)

    def __hash__(self) -> int:
        return hash((self._name, self._context))

    def spec_of(self, fullname: str) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._context)
        return spec


class _Loader(importlib.abc.Loader):
    """Delegates to another loader, and loads within the context."""

    def __init__(self, loader: Any, context: Callable[[], AbstractContextManager[None]]) -> None:
        self._loader, self._context = loader, context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as the other loader does."""
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Import the module; afterwards its spec names the other loader again."""
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        with self._context():
            self._loader.exec_module(module)
