"""Finds the main project from a temporary experiment of DVC, so that both use the same MLflow store.

`dvc exp run --temp` and `--queue` run in a copy of the project in `<project>/.dvc/tmp/exps/`, which DVC deletes when
the experiment ends.
"""

import os
from pathlib import Path

_EXPERIMENTS = (".dvc", "tmp", "exps")  # where DVC makes the copies


def root() -> Path:
    """Return the project's folder: the working directory, or for a temporary experiment the project that started it."""
    here = Path.cwd()
    return _project_named_by_dvc(here) or _enclosing_project(here) or here


def is_temporary() -> bool:
    """Whether this is a temporary experiment: DVC deletes all files here but its outputs when it ends."""
    return root() != Path.cwd()


def persistent_path(path: Path) -> Path:
    """Return the location of a path of the project, such as `.cache/runs`, that outlives a temporary experiment."""
    return root() / path if is_temporary() else path


def _project_named_by_dvc(here: Path) -> Path | None:
    """Return the project that DVC names in DVC_ROOT; its folder for experiments may be a link to another disk."""
    named = os.environ.get("DVC_ROOT")
    if not named or not (Path(named) / ".dvc").is_dir():
        return None
    return Path(named) if here.is_relative_to((Path(named) / Path(*_EXPERIMENTS)).resolve()) else None


def _enclosing_project(here: Path) -> Path | None:
    depth = len(_EXPERIMENTS)
    for folder in here.parents:
        if folder.parts[-depth:] == _EXPERIMENTS:
            return folder.parents[depth - 1]
    return None
