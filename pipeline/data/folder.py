"""Ingests a folder of labelled pictures, DIR/<label>/**, into data/: each content once, a sighting for each file.

An ingest that is killed and run again ends in the same state: see pipeline/data/batch_writer.py.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.data import annotation_files, batch_names, batch_writer, folder_advice, ingesting, walk
from pipeline.data.escalations import Screen
from pipeline.data.ingesting import IngestResult, Taken

MAX_FILE_BYTES = 64 * 2**20

_ANNOTATIONS = {
    "decisions.csv": annotation_files.DECISIONS,
    "reports.csv": annotation_files.REPORTS,
    "slices.csv": annotation_files.SLICES,
}


@dataclass(frozen=True)
class File:
    """A file below DIR; its label is the first folder's name, None for a file directly in DIR."""

    entry: walk.Entry
    label: str | None
    origin: str


@dataclass(frozen=True)
class Scan:
    """The files below a folder, by path, and the number of hidden files that were skipped, by name."""

    root: Path
    files: list[File]
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)


def scan(root: Path, labels: Iterable[str], *, follow_links: bool = False) -> Scan:
    """List every file below `root`, sorted by the bytes of its path; hidden files are only counted.

    Raises:
        UserError: `root` is no folder, holds nothing to ingest, or has a label that is not in `labels`.

    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder. Give one that holds a folder for each label.")
    walked = walk.walk(os.fsencode(root), follow_links=follow_links)
    listed = [_file(entry) for entry in walked.entries]
    if listed and not listed[0].origin:
        raise UserError(f"{root} cannot be read ({listed[0].entry.problem}).")
    known = list(labels)
    folder_advice.check_labels(root, sorted({file.label for file in listed if file.label is not None}), known)
    if not any(file.label is not None and not file.entry.problem for file in listed):
        raise UserError(folder_advice.nothing_taken(root, known, [_refusal(file) for file in listed], walked.skipped))
    return Scan(root, listed, walked.skipped)


def ingest(
    scanned: Scan,
    data: Path,
    source: str,
    *,
    max_bytes: int = MAX_FILE_BYTES,
    screen: Screen | None = None,
    progress: Callable[[Sequence[File]], Iterable[File]] = iter,
) -> IngestResult:
    """Append what is new in a scan to `data` as one batch.

    Raises:
        UserError: no file could be ingested, or a screen is out of service; nothing is written then.

    """
    prepare(data)
    root = os.path.realpath(os.fsencode(scanned.root))
    return ingesting.append(
        data,
        source,
        (_take(root, file, max_bytes) for file in progress(scanned.files)),
        door="ingest folder",
        screen=screen,
        nothing=lambda refusals: folder_advice.nothing_taken(scanned.root, (), refusals, scanned.skipped),
    )


def describe(scanned: Scan, taken: IngestResult) -> list[str]:
    """Return the result of an ingest for a terminal."""
    lines = taken.lines(f"{len(scanned)} files")
    return [*lines, folder_advice.describe_skipped(scanned.skipped)] if scanned.skipped else lines


def prepare(data: Path) -> None:
    """Create the folders and annotation files of `data`; complete, or delete, what a killed run left."""
    for name in ("shards", "sightings"):
        (data / name).mkdir(parents=True, exist_ok=True)
    batch_writer.recover(data)
    for leftover in sorted(data.rglob(".*.tmp")):
        leftover.unlink()
    for name, columns in _ANNOTATIONS.items():
        if not (data / name).exists():
            with files.atomic(data / name) as temporary:
                temporary.write_text(",".join(columns) + "\n", encoding="utf-8")


def check_source(name: str) -> str:
    """Return `name` if it can name a batch, else raise UserError."""
    if batch_names.is_of_reports(name):
        raise UserError(f"--source {name!r}: such names are those of accepted public reports (docs/reports.md).")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(
            f"--source {name!r}: use up to 64 letters, digits, '.', '_' and '-', for example 'reddit-2026-11'."
        )
    return name


def default_source(root: Path) -> str:
    """Return a source name made of the folder's own name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip("-._")[:64] or "folder"


def _file(entry: walk.Entry) -> File:
    origin = entry.shown.decode("utf-8", "backslashreplace")
    label, slash, _ = origin.partition("/")
    return File(entry, label if slash or entry.is_folder else None, origin)


def _refusal(file: File) -> str:
    return file.entry.problem or ("" if file.label else "no_label: lies in no label's folder")


def _take(root: bytes, file: File, max_bytes: int) -> Taken:
    reason = _refusal(file)
    content = walk.read(root, file.entry.below, -1 if reason else max_bytes)
    reason = reason or content.problem
    return Taken(file.label, file.origin, content.modified, content.size, content.data, reason, file.origin)
