"""What below .cache/ the workspace as it is does not use, and what made it can make again.

What came from people, or from the network, is never such: decisions, records that MLflow has not got, what an ingest
from the web has fetched.
"""

import hashlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pipeline.catalog import cached_results
from pipeline.core import files, paths
from pipeline.core.errors import UserError
from pipeline.data import batch_names, sightings
from pipeline.garbage.artifacts import DAY
from pipeline.garbage.parts import Group, Part, of_paths
from pipeline.params.root import Params
from pipeline.training.identity import digests_of

NAME = "project caches"
_NOTES = "run.json"  # in a checkpoint's folder, by pipeline/training/checkpoint.py
Choice = tuple[list[Path], list[Path]]  # what goes, and what stays

# What the weights of a stage's trainings depend on: sections of the params, and files. As pipeline/stages has it, which
# no room imports; a test holds it to that.
_HEAD = paths.HEAD / paths.MODEL_FILE
_LEARNED = ("seed", "labels", "backbone", "augment")
DEPENDENCIES: dict[str, tuple[tuple[str, ...], tuple[Path, ...]]] = {
    "train": ((*_LEARNED, "embed", "train"), (paths.SPLITS, paths.EMBEDDINGS)),
    "finetune": ((*_LEARNED, "train", "finetune"), (paths.SPLITS, paths.PACKED, _HEAD)),
    "cross_fit": ((*_LEARNED, "train", "finetune"), (paths.SPLITS, paths.PACKED, paths.EMBEDDINGS)),
}


def plan(params: Params, evidence: Collection[str] | None, published: Sequence[Path] | None, now: float) -> Part:
    """Return what goes of the caches.

    Args:
        params: the project's.
        evidence: digests of all versions' evidence; None if MLflow cannot tell.
        published: run records that MLflow has completely, and that nothing else needs; None if it cannot tell.
        now: seconds since 1970.

    """
    choices = {
        "catalog results": _catalog(params),
        "features": _features(),
        "folds of cross_fit": _folds(params),
        "checkpoints": _checkpoints(params),
        "subsets of the search": (sorted(paths.TUNE.glob("subset-*.tfrecord")), []),
        "thumbnails": _thumbnails(),
        "evidence": _evidence(evidence),
        "run records": _records(published),
        "leftovers": (list(_leftovers(now)), []),
        "fetched from the web": ([], sorted((paths.CACHE / "web_ingest").glob("*.db"))),
    }
    unused = (Group(kind, _GOES[kind], of_paths(going)) for kind, (going, _) in choices.items() if going)
    stays = (Group(kind, _STAYS[kind], of_paths(staying)) for kind, (_, staying) in choices.items() if staying)
    return Part(NAME, tuple(unused), tuple(stays))


_GOES = {
    "catalog results": "of shards that are not in data/, or by other params or code",
    "features": "of networks before the one used last",
    "folds of cross_fit": "of other params, data or code",
    "checkpoints": "of trainings by other params, data or code",
    "subsets of the search": "written again from build/packed",
    "thumbnails": "of pictures that are not in data/",
    "evidence": "of no registered version",
    "run records": "MLflow has them completely",
    "leftovers": "of commands that died more than a day ago",
}
_STAYS = {
    "catalog results": "of the shards in data/",
    "features": "of the network used last",
    "folds of cross_fit": "of these params, data and code",
    "checkpoints": "unfinished trainings by these params, data and code: `dvc repro` goes on from there",
    "thumbnails": "of pictures in data/",
    "evidence": "of registered versions (it mends a lost run), or MLflow cannot tell",
    "run records": "MLflow lacks a part of them (`nsfw sync`), or a training goes on from them",
    "fetched from the web": "by an ingest that was cut short: run it again to its end",
}


def delete(part: Part) -> None:
    """Delete what `plan` returned."""
    for group in part.unused:
        for item in group.items:
            path = Path(item.name)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _catalog(params: Params) -> Choice:
    cached = sorted(paths.CATALOG_CACHE.glob("*.parquet"))
    if not cached or not paths.SHARDS.is_dir():  # without data/, nobody can tell
        return [], cached
    recipe = cached_results.recipe(params.catalog)
    used = {cached_results.cache_path(shard, recipe) for shard in batch_names.shard_files(paths.SHARDS)}
    return _split(cached, used)


def _features() -> Choice:
    """Which network params.yaml means, only building it would tell; each use of a folder sets its time."""
    folders = sorted(_folders(paths.EMBEDDINGS_CACHE), key=lambda folder: folder.stat().st_mtime_ns)
    return folders[:-1], folders[-1:]


def _folds(params: Params) -> Choice:
    folders = _folders(paths.CROSS_FIT_CACHE)
    identity = _identity("cross_fit", params) if folders else None
    if identity is None:
        return [], folders
    return _split(
        folders, {paths.CROSS_FIT_CACHE / hashlib.sha256("".join(identity.values()).encode()).hexdigest()[:16]}
    )


def _checkpoints(params: Params) -> Choice:
    going: list[Path] = []
    staying: list[Path] = []
    for folder in _folders(paths.CHECKPOINTS):
        kind = folder.name.rpartition("-")[0]
        identity = _identity(kind, params) if kind in DEPENDENCIES else None
        current = identity is None or _noted(folder) in (identity, None)
        (staying if current else going).append(folder)
    return going, staying


def _noted(folder: Path) -> dict[str, str] | None:
    """Return what a checkpoint's training depends on, as it noted; None if that cannot be read."""
    try:
        return dict(files.read_json(folder / _NOTES)["identity"])
    except (UserError, KeyError, TypeError, ValueError):
        return None


def _identity(stage: str, params: Params) -> dict[str, str] | None:
    """Return what a training of the workspace as it is depends on; None if a part of it is not here."""
    sections, inputs = DEPENDENCIES[stage]
    if not all(path.exists() for path in inputs):
        return None
    return digests_of(stage, params.model_dump(include=set(sections)), inputs)


def _thumbnails() -> Choice:
    cached = sorted(paths.THUMBNAILS.glob("*/??/*.jpg"))
    if not cached or not paths.SIGHTINGS.is_dir():
        return [], cached
    rows = sightings.load(paths.SIGHTINGS)
    stored = set(rows.loc[rows["status"] == "stored", "sha256"])
    return _split(cached, {path for path in cached if path.stem in stored})


def _evidence(digests: Collection[str] | None) -> Choice:
    """Folders are named by a version's evidence; files, predictions about other versions' pictures, begin with it."""
    cached = sorted(path for path in paths.EVIDENCE_CACHE.glob("*") if not path.name.startswith(("tmp", ".")))
    if digests is None:
        return [], cached
    begun = {digest[:16] for digest in digests}
    return _split(cached, {path for path in cached if path.name in digests or path.name.split("-")[0] in begun})


def _records(published: Sequence[Path] | None) -> Choice:
    return _split(_folders(paths.RUNS), set(_folders(paths.RUNS)) - set(published or ()))


def _leftovers(now: float) -> Iterator[Path]:
    """Yield temporary files and folders of commands that were killed."""
    for pattern in (".import-*", "**/.*.tmp", "evidence/tmp*"):
        for path in sorted(paths.CACHE.glob(pattern)):
            if now - path.stat().st_mtime > DAY:
                yield path


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.glob("*") if path.is_dir())


def _split(cached: Sequence[Path], used: Collection[Path]) -> Choice:
    return [path for path in cached if path not in used], [path for path in cached if path in used]
