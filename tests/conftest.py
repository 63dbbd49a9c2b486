"""What every test may ask for: numbers to draw from, and a small project to stand in."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from trained_project import in_project, project_copy, trained_project

__all__ = ["in_project", "project_copy", "trained_project"]  # fixtures

ROOT = Path(__file__).parents[1]

# The real params, shrunk: whole runs on a handful of pictures.
SMALL: dict[str, dict[str, Any]] = {
    "backbone": {"size": 32},
    "split": {"fractions": {"train": 0.5, "val": 0.25, "test": 0.25}, "min_per_split": 1},
    "pack": {"pictures_per_file": 4},
}


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
    from pipeline import cli

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nsfw", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as exited:
            code = exited.code or 0
        told = capsys.readouterr()
        return code, told.out, told.err

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
