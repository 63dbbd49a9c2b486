"""What MLflow's bin holds, uploads that never ended, and folders of the artifact store that belong to nothing.

Nothing goes that a registered version, or an entry of the ledger, names. Only a store that is a file of this machine is
cleaned; a server has its own `mlflow gc`.
"""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.garbage.parts import Group, Item, Part, nonempty, of_paths, size_of
from pipeline.tracking import store_contents
from pipeline.tracking.store_contents import Contents, StoredModel

NAME = "MLflow"
DAY = 86_400.0  # an upload, or a conversion, that is older has ended or died
_RUN = re.compile(r"[0-9a-f]{32}")
_MODEL = re.compile(r"m-[0-9a-f]{32}")
_ID = re.compile(r"(?:m-)?[0-9a-f]{32}")
_MODELS = "models"  # the folder of logged models in an artifact store
_UPLOADING = ".artifact.uploading.*"  # MLflow's own name for a file that is being written
_MOST = 3000  # ids for one call of `mlflow gc`: a command line has a limit


@dataclass(frozen=True)
class Bin:
    """Ids of what can be deleted for good: runs, logged models (some not in MLflow's bin yet) and experiments."""

    runs: tuple[str, ...]
    models: tuple[str, ...]
    experiments: tuple[str, ...]
    problem: str = ""

    @property
    def by_kind(self) -> tuple[tuple[str, ...], ...]:
        """Ids of runs, of models, of experiments."""
        return self.runs, self.models, self.experiments

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all kinds."""
        return self.runs + self.models + self.experiments


def needed_ids(contents: Contents) -> set[str]:
    """Return the ids of runs and logged models that versions name, and of the runs that such models came from."""
    ids = {each for version in contents.versions for name in version.names for each in _ID.findall(name)}
    return ids | {model.run for model in contents.models if model.id in ids and model.run}


def choose(contents: Contents, now: float) -> Bin:
    """Return what goes of runs, models and experiments; `problem` if `mlflow gc` could not spare what has to stay."""
    needed = needed_ids(contents)
    here = {run.id: run for run in contents.runs if run.location is not None}
    known = {run.id for run in contents.runs}
    runs = {run.id for run in here.values() if run.deleted and run.id not in needed}
    of_experiment = {each.experiment for each in contents.entries if each.id in needed}
    of_experiment |= {each.experiment for each in contents.entries if each.location is None}
    experiments = set(contents.deleted_experiments) - of_experiment

    def goes(model: StoredModel) -> bool:
        without_run = bool(model.run) and (model.run in runs or model.run not in known)
        died = not model.complete and now - model.created > DAY
        return model.deleted or without_run or died or model.experiment in experiments

    local = [model for model in contents.models if model.location is not None and model.id not in needed]
    models = {model.id for model in local if goes(model)}
    spared = {
        "run": {run.id for run in contents.runs if run.deleted} - runs,
        "logged model": {model.id for model in contents.models if model.deleted} - models,
        "experiment": set(contents.deleted_experiments) - experiments,
    }
    chosen = {"run": runs, "logged model": models, "experiment": experiments}
    return Bin(tuple(sorted(runs)), tuple(sorted(models)), tuple(sorted(experiments)), _problem(chosen, spared))


def _problem(chosen: dict[str, set[str]], spared: dict[str, set[str]]) -> str:
    """Return why the bin cannot be emptied: `mlflow gc` takes an empty list of ids for all that the bin holds."""
    if not any(chosen.values()):
        return ""
    blocked = [f"{kind} {each}" for kind, ids in spared.items() if not chosen[kind] for each in sorted(ids)]
    if not blocked:
        return ""
    return (
        f"MLflow's bin holds what a version needs, or what lies in another store, and `mlflow gc` would delete it with "
        f"the rest: {', '.join(blocked[:5])}. Restore it (`nsfw sync` does for production and challenger; `mlflow "
        "runs restore --run-id ID`, `mlflow experiments restore -x ID`), and run this again."
    )


def orphans(listed: Sequence[Path], contents: Contents) -> tuple[list[Path], list[Path]]:
    """Return which of the artifact store's folders no run and no logged model has, and which are not MLflow's."""
    ids = {each.id for each in contents.entries} | needed_ids(contents)
    lost: list[Path] = []
    unknown: list[Path] = []
    for path in listed:
        if path.name in ids or (path.name in {_MODELS, "traces"} and path.parent.name != _MODELS):
            continue
        pattern = _MODEL if path.parent.name == _MODELS else _RUN
        (lost if pattern.fullmatch(path.name) and path.is_dir() else unknown).append(path)
    return lost, unknown


def plan(database: Path, root: Path, now: float) -> Part:
    """Return what goes of the store in `database` with the artifacts in `root`; the store is read, and not changed."""
    listed = [*_children(root), *_children(root / _MODELS)]  # before the store: it knows a run before that has a folder
    contents = store_contents.read(database)
    chosen = choose(contents, now)
    lost, unknown = orphans(listed, contents)
    folders = {each.id: each.location for each in contents.entries if each.location is not None}
    going = [*lost, *(folders[each] for each in (*chosen.runs, *chosen.models))]
    unused = (
        Group("runs", "deleted in MLflow", _items(chosen.runs, folders)),
        Group("logged models", "deleted, or of such a run, or cut short while written", _items(chosen.models, folders)),
        Group("experiments", "deleted in MLflow", tuple(Item(each, 0) for each in chosen.experiments)),
        Group("artifact folders", "of no run and no logged model", of_paths(lost)),
        Group("uploads", "cut short more than a day ago", of_paths(_uploads(root, going, now))),
    )
    needed = sorted(needed_ids(contents) & folders.keys())
    others = sorted(folders.keys() - {*needed, *chosen.runs, *chosen.models})
    stays = (
        Group("runs and logged models", "a version, or the ledger, names them", _items(needed, folders)),
        Group("runs and logged models", "not deleted in MLflow", _items(others, folders)),
        Group("other files", "not MLflow's by their name", of_paths(unknown)),
    )
    return Part(NAME, nonempty(unused), nonempty(stays), problem=chosen.problem)


def delete(client: Any, database: Path, root: Path, now: float) -> None:
    """Delete what `plan` returns; killed at any moment and run again, it comes to the same end.

    Raises:
        UserError: `mlflow gc` refuses, or would delete what has to stay.

    """
    listed = [*_children(root), *_children(root / _MODELS)]
    contents = store_contents.read(database)
    while (chosen := choose(contents, now)).ids:
        if chosen.problem:
            raise UserError(chosen.problem)
        active = {model.id for model in contents.models if not model.deleted}
        for model in sorted(active & set(chosen.models)):
            client.delete_logged_model(model)
        store_contents.purge(f"sqlite:///{database}", *(ids[:_MOST] for ids in chosen.by_kind))
        contents = store_contents.read(database)
    lost, _ = orphans([path for path in listed if path.exists()], contents)  # MLflow leaves the folders of runs empty
    for path in lost:
        shutil.rmtree(path)
    for path in _uploads(root, [], now):
        path.unlink()


def _items(ids: Iterable[str], folders: Mapping[str, Path]) -> tuple[Item, ...]:
    return tuple(Item(each, size_of(folders[each])) for each in ids)


def _uploads(root: Path, going: Sequence[Path], now: float) -> list[Path]:
    """Return files of uploads that were cut short, but for those in folders that go as a whole."""
    files = root.rglob(_UPLOADING)
    old = [path for path in files if path.is_file() and now - path.stat().st_mtime > DAY]
    return [path for path in old if not any(path.is_relative_to(folder) for folder in going)]


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
