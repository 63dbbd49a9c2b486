"""Where the project lies whose MLflow store counts, for `dvc exp run --temp` and `--queue` run in a copy of their own.

DVC makes that copy in `<project>/.dvc/tmp/exps/`, and deletes it when the experiment ends.
"""

import os
from pathlib import Path

_EXPERIMENTS = (".dvc", "tmp", "exps")  # where DVC makes the copies


def root() -> Path:
    """Return the project's folder: the working directory, or of a temporary experiment the project it was begun in."""
    here = Path.cwd()
    return _named_by_dvc(here) or _above(here) or here


def is_temporary() -> bool:
    """Whether this is a temporary experiment: all that it writes here, but for DVC's outputs, is deleted with it."""
    return root() != Path.cwd()


def lasting(path: Path) -> Path:
    """Return where a path of the project, `.cache/runs` say, lies when the working directory is to be deleted."""
    return root() / path if is_temporary() else path


def _named_by_dvc(here: Path) -> Path | None:
    """Return the project that DVC names to the commands of an experiment; it may have another folder for them."""
    named = os.environ.get("DVC_ROOT")
    if not named or not (Path(named) / ".dvc").is_dir():
        return None
    return Path(named) if here.is_relative_to((Path(named) / Path(*_EXPERIMENTS)).resolve()) else None


def _above(here: Path) -> Path | None:
    depth = len(_EXPERIMENTS)
    for folder in here.parents:
        if folder.parts[-depth:] == _EXPERIMENTS:
            return folder.parents[depth - 1]
    return None
