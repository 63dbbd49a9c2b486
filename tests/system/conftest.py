"""One whole run that every test here looks at."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import once
from tests.support.system_helpers import DEAD, PICTURES, SAVE_WEIGHTS, SEED, Project, make


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> tuple[Path, Path]:
    """The scrape and its truth."""
    from pipeline.sample.sample import draw_sample

    folder = tmp_path_factory.mktemp("sample")
    draw_sample(folder / "raw", folder / "truth.csv", seed=SEED, pictures=PICTURES)
    return folder / "raw", folder / "truth.csv"


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """Random weights that stand for learned ones."""
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    subprocess.run([sys.executable, "-c", SAVE_WEIGHTS, str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory, sample, tiny_weights) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A project after a `dvc repro` without an MLflow server; under `-n`, the first process to need it builds it."""
    root = tmp_path_factory.mktemp("built") / "project"

    def made() -> dict[str, Any]:
        return {"root": str(root)} | vars(build(root, sample[0], tiny_weights))

    result = once.per_session(tmp_path_factory, "built", made)
    return Path(result.pop("root")), subprocess.CompletedProcess(**result)


def build(root: Path, raw: Path, weights: Path) -> subprocess.CompletedProcess[str]:
    return make(root, raw, weights).repro(mlflow=DEAD, check=False)


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory, built) -> tuple[Project, subprocess.CompletedProcess[str]]:
    """The project after a `dvc repro` during which MLflow's server was dead. Leave it as you found it."""
    root = tmp_path_factory.mktemp("whole") / "project"
    shutil.copytree(built[0], root, symlinks=True)
    return Project(root), built[1]


@pytest.fixture(scope="session")
def synced(whole_run) -> tuple[Project, subprocess.CompletedProcess[str]]:
    """The same project after `nsfw sync` to its default store."""
    project, _ = whole_run
    return project, project.nsfw("sync", "--json", check=False)
