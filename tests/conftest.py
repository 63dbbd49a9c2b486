"""Fixtures of all tests: a random generator, a small project, the `nsfw` command, a small disk, a browser."""

import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import settings

from pipeline.core import import_hooks
from tests.support import tracing
from tests.support.trained_project import in_project, project_copy, trained_project

__all__ = ["in_project", "project_copy", "trained_project"]  # fixtures

ROOT = Path(__file__).parents[1]

import_hooks.speed_up_imports()
settings.register_profile("untimed", deadline=None)  # a busy machine makes no test wrong
settings.load_profile("untimed")

# The real params, shrunk: whole runs on a handful of pictures.
SMALL: dict[str, dict[str, Any]] = {
    "backbone": {"size": 32},
    "split": {"fractions": {"train": 0.5, "val": 0.25, "test": 0.25}, "min_per_split": 1},
    "pack": {"pictures_per_file": 4},
}

# Files that take two minutes and more: begun late, one of them runs alone while the other processes have nothing to do.
LONG = {"test_finetune", "test_every_page", "test_worker", "test_team_server", "test_server", "test_backbones"}
ALONE = {"test_search", "test_readme", "test_costly_client", "test_packaged_model"}  # of tests/system


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under `-n`, whole runs and then other LONG files come first; files with a `timed` test last.

    Such a test waits until the other process has ended its own, which would be long in the middle of whole runs.
    """
    if hasattr(config, "workerinput"):
        timed = {item.path for item in items if item.get_closest_marker("timed")}
        items.sort(key=lambda item: _turn_of(item.path, timed))


def pytest_collection_finish() -> None:
    """Have the garbage collector disregard what collecting created: it lives as long as the process, and takes long."""
    gc.collect()
    gc.freeze()


def _turn_of(file: Path, timed: set[Path]) -> int:
    if file in timed:
        return 3
    return 0 if file.parent.name == "system" else 1 if file.stem in LONG else 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under `-n`, tests of a file stay in one process, and whole runs that look at the same project in one.

    Those of ALONE take long enough for a copy of it in the other process.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "tests/system" if file.startswith("tests/system/") and Path(file).stem not in ALONE else file

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Under `-n`, a test marked `timed` has the machine to itself: the other processes wait between two tests."""
    with (
        _turn(alone=item.get_closest_marker("timed") is not None),
        nullcontext() if tracing.measured(item) else tracing.untraced(),
    ):
        return (yield)


@contextmanager
def _turn(*, alone: bool) -> Iterator[None]:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        yield
        return
    gate, room = (Path(tempfile.gettempdir()) / f"nsfw-tests-{run}.{name}" for name in ("gate", "room"))
    with room.open("a") as inside:
        with gate.open("a") as entering:  # held while one waits to be alone, so that others do not slip in before it
            fcntl.flock(entering, fcntl.LOCK_EX)
            fcntl.flock(inside, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.fixture(autouse=True)
def own_code() -> Iterator[None]:
    """A model that MLflow loads puts its own copy of the code first on sys.path, and leaves it there.

    Later tests' worker processes would then import that copy.
    """
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with the real params.yaml, shrunk; the working directory."""
    root = tmp_path / "project"
    root.mkdir()
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        params[section] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def nsfw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The `nsfw` command, run in this process; returns exit code, stdout and stderr."""
    from pipeline.cli import console

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nsfw", *map(str, arguments)])
        try:
            console.main()
            code = 0
        except SystemExit as exited:
            code = exited.code or 0
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"may not mount a small file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """This machine's Chromium, started once for the tests of a file."""
    program = shutil.which("chromium") or pytest.skip("no chromium on this machine to look with")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """A real browser, to open pages and click in them, as playwright does; nothing is left in it from other tests."""
    yield chromium
    for context in chromium.contexts:
        context.close()
