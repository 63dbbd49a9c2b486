"""Imports within a context manager, and Keras without the libraries that it does not need."""

import gc
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from pipeline.core import import_hooks


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module to import, not yet imported."""
    (tmp_path / "imported_once.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield "imported_once"
    sys.modules.pop("imported_once", None)


def test_the_first_import_alone_runs_within_the_contexts(module):
    steps = []

    @contextmanager
    def note(name):
        steps.append(f"enter {name}")
        yield
        steps.append(f"leave {name}")

    for name in ("inner", "outer"):
        import_hooks.run_within(module, lambda name=name: note(name))
    assert __import__(module).VALUE == 1
    assert steps == ["enter outer", "enter inner", "leave inner", "leave outer"]
    assert type(sys.modules[module].__loader__).__name__ == "SourceFileLoader"
    import_hooks.run_within(module, lambda: note("late"))
    del sys.modules[module]
    assert __import__(module).VALUE == 1
    assert len(steps) == 4


def test_however_often_it_is_asked_for_a_module_has_a_context_once(module):
    steps = []

    @contextmanager
    def note():
        steps.append("enter")
        yield

    before = len(sys.meta_path)
    for _ in range(1000):  # a command in a process that has run commands before
        import_hooks.run_within(module, note)
    assert len(sys.meta_path) == before + 1
    assert __import__(module).VALUE == 1
    assert steps == ["enter"]


def test_a_module_is_hidden_from_one_thread_and_for_a_while(module):
    with import_hooks.hidden(frozenset({module})):
        with pytest.raises(ModuleNotFoundError, match="imported_once"):
            __import__(module)
        seen = []
        other = threading.Thread(target=lambda: seen.append(__import__(module).VALUE))
        other.start()
        other.join()
        assert seen == [1]
        assert __import__(module).VALUE == 1  # imported already
    del sys.modules[module]
    assert __import__(module).VALUE == 1


@pytest.mark.parametrize("first", ["keras", "tensorflow"])
def test_keras_is_imported_without_plots_and_scikit_learn_that_work_later(first):
    program = f"""
import sys
from pipeline.core import import_hooks
import_hooks.speed_up_imports()
import {first}, keras, tensorflow
print(sorted({{"matplotlib", "sklearn", "scipy.stats"}} & set(sys.modules)))
print(keras.Sequential([keras.layers.Dense(2)])(tensorflow.zeros((1, 3))).shape)
import matplotlib.pyplot, sklearn.linear_model
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n(1, 2)\n"


def test_what_an_import_creates_is_not_collected_then_or_later(module):
    with import_hooks.uncollected():
        assert not gc.isenabled()
        with import_hooks.uncollected():
            held = [[] for _ in range(1000)]
        assert not gc.isenabled()
    assert gc.isenabled()
    assert not {id(one) for one in held} & {id(one) for one in gc.get_objects()}
    with pytest.raises(ZeroDivisionError), import_hooks.uncollected():
        1 / 0  # noqa: B018
    assert gc.isenabled()


def test_garbage_is_collected_after_a_fast_import():
    program = """
import gc, weakref
from pipeline.core import import_hooks
import_hooks.speed_up_imports()
import pandas
class Node: pass
one = Node(); one.itself = one; seen = weakref.ref(one); del one
gc.collect()
print(gc.isenabled(), gc.get_freeze_count() > 10_000, seen() is None)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True True True\n"
