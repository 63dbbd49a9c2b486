"""Ingests a folder of labelled pictures, DIR/<label>/**, into data/: each content once, a sighting for each file.

An ingest that is killed and run again ends in the same state: see pipeline/data/batch_writer.py.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.data import (
    annotation_files,
    batch_names,
    batch_writer,
    escalations,
    folder_advice,
    removed_contents,
    sightings,
    walk,
)  # fmt: skip
from pipeline.data.escalated_contents import EscalatedContents
from pipeline.data.escalations import Screen

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


@dataclass(frozen=True)
class IngestResult:
    """The result of an ingest: numbers of new sightings, contents stored for the first time, and files refused.

    `batch` is None if nothing was new. `removed`: files whose content was taken down for good. `escalated`: files
    that a screen matched, now or earlier; `unscreened`: those refused because a screen did not answer.
    """

    batch: str | None
    sighted: int
    stored: int
    refused: int
    shards: int
    removed: int = 0
    escalated: int = 0
    unscreened: int = 0


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

    A content that is stored already gets a sighting only. A file with the same bytes, label, origin and source as an
    earlier one gets no new sighting. A content that was taken down is never stored, nor is one that `screen` matches:
    it is recorded, in data/escalations.csv and as taken down.

    Raises:
        UserError: no file could be ingested, or a screen is out of service; nothing is written then.

    """
    prepare(data)
    seen, removed = sightings.load(data / "sightings"), removed_contents.reasons(data / "sightings")
    writer = batch_writer.Writer(data, known=set(seen.loc[seen["status"] == "stored", "sha256"]))
    old = _identities(seen)
    rows, refusals, count, escalated = [], list[str](), Counter[str](), EscalatedContents(data, source)
    root = os.path.realpath(os.fsencode(scanned.root))
    taken = (_take(root, file, source, max_bytes, removed) for file in progress(scanned.files))
    screened = screen.screen(taken, _content) if screen else ((one, None) for one in taken)
    for (seen_row, content), verdict in screened:
        row = escalations.judged(seen_row, verdict)
        count[str(row["status"])] += 1
        refusals += [str(row["reason"])] if row["reason"] else []
        escalated.add(row, verdict, "ingest folder")
        if (row["sha256"], row["label"], row["origin"], source) in old:
            continue
        rows.append(row)
        if content is not None and row["status"] == "stored":
            writer.add(str(row["sha256"]), _extension(str(row["origin"])), content)
    escalated.record()
    if not count["stored"] and not count[escalations.ESCALATED]:
        writer.discard()
        raise UserError(folder_advice.nothing_taken(scanned.root, (), refusals, scanned.skipped))
    batch = writer.commit(batch_names.next_number(data / "sightings"), source, sightings.frame(rows)) if rows else None
    refused = sum(row["status"] == "refused" for row in rows)
    unscreened = sum(reason.startswith(f"{escalations.UNSCREENED}:") for reason in refusals)
    gone = count[sightings.REMOVED], count[escalations.ESCALATED]
    return IngestResult(batch, len(rows), writer.stored, refused, writer.shards, *gone, unscreened)


def describe(scanned: Scan, taken: IngestResult) -> list[str]:
    """Return the result of an ingest for a terminal."""
    lines = [
        f"{len(scanned)} files: {taken.sighted} new sightings, {taken.stored} new contents in {taken.shards} shards"
    ]
    if taken.refused:
        lines.append(
            f"{taken.refused} files were refused; their rows in data/sightings say why, and build/quarantine.csv will"
        )
    if taken.removed:
        lines.append(f"{taken.removed} files hold pictures that were taken down for good: their bytes were not stored")
    if taken.unscreened:
        lines.append(f"{taken.unscreened} could not be screened, and were refused: ingest the folder again")
    return [*lines, folder_advice.describe_skipped(scanned.skipped)] if scanned.skipped else lines


def _identities(seen: pd.DataFrame) -> set[tuple[str | None, ...]]:
    columns = seen[["sha256", "label", "origin", "source"]].astype(object)
    return set(columns.where(columns.notna(), None).itertuples(index=False, name=None))


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


def _take(
    root: bytes, file: File, source: str, max_bytes: int, removed: dict[str, str]
) -> tuple[dict[str, object], bytes | None]:
    reason = _refusal(file)
    content = walk.read(root, file.entry.below, -1 if reason else max_bytes)
    data = content.data
    sha256 = None if data is None else hashlib.sha256(data).hexdigest()
    status = "refused" if sha256 is None else "stored"
    if sha256 in removed:
        data, reason = None, removed[str(sha256)]
        status = sightings.status_of_removed(reason)
    row: dict[str, object] = {
        "sha256": sha256,
        "label": file.label,
        "origin": file.origin,
        "source": source,
        # The file's modification time rather than the clock, so that ingesting again gives the same row.
        "fetched_at": datetime.fromtimestamp(content.modified, UTC),
        "bytes": content.size,
        "status": status,
        "reason": reason or content.problem,
    }
    return row, data


def _content(taken: tuple[dict[str, object], bytes | None]) -> bytes | None:
    return taken[1]


def _extension(origin: str) -> str:
    suffix = Path(origin).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
