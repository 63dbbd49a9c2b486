"""The project around `data/`: its lock, its checks before an ingest, and its version in DVC."""

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from pipeline.core import files, paths
from pipeline.core.errors import UserError
from pipeline.data import completeness, dvc_pointer, removed_contents, sightings, sources

SAMPLE_REMOTE = "sample"  # in .dvc/config: the folder .dvc/sample


def check_root() -> None:
    """Raise UserError unless the working directory is a project's root, with DVC."""
    if not (paths.PARAMS.is_file() and Path(".dvc").is_dir()):
        raise UserError(
            f"{Path.cwd()} is not the project's root (params.yaml and .dvc/). Change to it and run this again."
        )


def check_outside(folder: Path) -> None:
    """Raise UserError if `folder` is in data/: --fresh would delete it, and DVC would track it twice."""
    if folder.resolve().is_relative_to(paths.DATA.resolve()):
        raise UserError(f"{folder} lies in data/, which only `nsfw` writes. Move it elsewhere and run this again.")


@contextmanager
def ingest_lock() -> Iterator[None]:
    """Hold the project's ingest lock.

    Raises:
        UserError: another ingest holds it.

    """
    paths.CACHE.mkdir(exist_ok=True)
    with (paths.CACHE / "ingest.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another `nsfw ingest` is at work (or `nsfw data remove`) in this project. Wait for it to end."
            ) from None
        yield


@contextmanager
def writing_batch(
    source: str, *, fresh: bool, keep_sample: bool, about: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Hold the lock while a batch of `source` is written; then keep what `about` says of it, and version data/.

    If writing fails, neither is done.

    Raises:
        UserError: another ingest holds the lock; `prepare_for_batch` or `sources.check` refuses; DVC fails.

    """
    with ingest_lock():
        prepare_for_batch(source, fresh=fresh, keep_sample=keep_sample)
        sources.check(paths.DATA, source, about)
        yield
        sources.write(paths.DATA, source, about)
        add_data()


def prepare_for_batch(source: str, *, fresh: bool, keep_sample: bool) -> None:
    """Check that `data/` may take a batch of `source`: complete, and without mixing the sample with real pictures.

    `fresh` empties data/ first; `keep_sample` allows the mix.

    Raises:
        UserError: the user has to choose one of these, or to fetch data/ first.

    """
    if fresh:
        _check_removals()
        if paths.DATA.exists():
            add_data()  # its present version stays in DVC's cache
            _empty(paths.DATA)
        return
    if dvc_pointer.POINTER.exists() and not paths.SIGHTINGS.is_dir():
        raise UserError(
            "data.dvc tracks a data/ that is not here. Fetch it with `dvc pull data.dvc`, or begin anew with --fresh."
        )
    for leftover in completeness.check(paths.DATA):
        leftover.unlink()
    held_sources = {source, *sightings.load(paths.SIGHTINGS)["source"]}
    if sightings.SAMPLE_SOURCE in held_sources and len(held_sources) > 1 and not keep_sample:
        held = "holds other pictures than" if source == sightings.SAMPLE_SOURCE else "still holds"
        raise UserError(
            f"data/ {held} the bundled sample: drawings by a program, which would teach a model of real "
            "pictures nothing and spoil its test set.\n"
            "  --fresh        begin an empty data/ (what it holds stays in DVC's cache)\n"
            "  --keep-sample  mix them all the same"
        )


def _check_removals() -> None:
    """Raise UserError if records of removals that data.dvc names are missing: a fresh data/ would store them again."""
    named = dvc_pointer.files_of(str(dvc_pointer.read_out().get("md5", ""))) or {}
    acts = [name for name in named if name.startswith(f"sightings/{removed_contents.FOLDER}/")]
    acts += [name for name in named if name == paths.ESCALATION_RECORDS.name]
    if lacking := [name for name in acts if not (paths.DATA / name).exists()]:
        raise UserError(
            f"{len(lacking)} files of what was taken down for good, or escalated, are not here, and --fresh must keep "
            "them. "
            "Fetch them with `dvc pull data.dvc` and run this again."
        )


def _empty(data: Path) -> None:
    """Delete all of `data` but the records of removals and of matches: no later ingest may take those contents."""
    for path in sorted(data.iterdir()):
        if path not in (data / "sightings", data / paths.ESCALATION_RECORDS.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for table in sorted((data / "sightings").glob("*.parquet")):
        table.unlink()


def add_data() -> None:
    """Version data/ in DVC (writes data.dvc).

    The bytes of the bundled sample are in the repository's own remote, `sample`; no other pictures may go there.

    Raises:
        UserError: DVC fails.

    """
    done = dvc_pointer.dvc("add", str(paths.DATA))  # --quiet hides errors too
    if done.returncode:
        raise UserError(f"`dvc add data` failed: {done.stderr.strip() or done.stdout.strip()}")
    pointer = yaml.safe_load(dvc_pointer.POINTER.read_text(encoding="utf-8"))
    pointer["outs"][0].pop("remote", None)
    if set(sightings.load(paths.SIGHTINGS)["source"]) == {sightings.SAMPLE_SOURCE}:
        pointer["outs"][0]["remote"] = SAMPLE_REMOTE
    with files.atomic(dvc_pointer.POINTER) as temporary:
        temporary.write_text(yaml.safe_dump(pointer, sort_keys=False), encoding="utf-8")
