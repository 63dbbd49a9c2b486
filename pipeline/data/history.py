"""Lists which version of the scrape, the deduplicated set and the splits each commit names, and their sizes.

The versions are in data.dvc and dvc.lock, which are committed; DVC's cache holds the bytes. If those are not in the
cache, only the digests are known; `dvc fetch --all-commits` fetches the rest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.core import git, paths
from pipeline.core.errors import UserError
from pipeline.data import dvc_pointer

_LOCK = Path("dvc.lock")
_SPLITS = ("train", "val", "test")
_SHOWN = 8  # digits of a digest


@dataclass(frozen=True)
class Version:
    """The versions that one commit names: DVC's md5 digests (None if absent) and counts (None if not in the cache).

    Attributes:
        commit: its hash, or `uncommitted`.
        date: YYYY-MM-DD, "" for uncommitted.
        subject: the first line of the commit's message.
        raw: of data/.
        sighted: files, in all batches.
        deduped: of build/deduped.parquet.
        pictures: in it.
        splits: of build/splits.parquet.
        by_split: pictures in train, val and test.

    """

    commit: str
    date: str
    subject: str
    raw: str | None
    sighted: int | None
    deduped: str | None
    pictures: int | None
    splits: str | None
    by_split: Mapping[str, int] | None


def collect(limit: int) -> list[Version]:
    """Return the versions of the last `limit` commits that changed one, after those of uncommitted changes, if any.

    Raises:
        UserError: git fails.

    """
    cache = dvc_pointer.cache_folder()
    rows = []
    for line in _git("log", f"-{limit}", "--format=%h\t%cs\t%s", "--", *_files()).splitlines():
        commit, date, subject = line.split("\t", 2)
        rows.append(_version(commit, date, subject, _committed(commit), cache))
    now = {name: _text(Path(name)) for name in _files()}
    if now != _committed("HEAD") and any(now.values()):
        rows.insert(0, _version("uncommitted", "", "", now, cache))
    return rows


def to_document(rows: list[Version]) -> dict[str, Any]:
    """Return the rows for JSON."""
    return {"versions": [asdict(row) for row in rows]}


def describe(rows: list[Version]) -> list[str]:
    """Return the rows as a table for a terminal, and the next commands."""
    if not rows:
        return ["no commit holds data.dvc or dvc.lock yet: git add data.dvc dvc.lock params.yaml && git commit"]
    head = ("commit", "date", "raw scrape", "files", "deduplicated", "pictures", "splits", "train/val/test", "")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    table = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) for line in lines
    ]
    ways = ["", "next: git checkout COMMIT -- data.dvc dvc.lock params.yaml && dvc pull   takes a version up again"]
    if rows[0].commit == "uncommitted":
        ways.append(
            "      git add data.dvc dvc.lock params.yaml && git commit && dvc push    keeps and shares this one"
        )
    return [*(line.rstrip() for line in table), *ways]


def _cells(row: Version) -> tuple[str, ...]:
    split = "/".join(str(row.by_split[name]) for name in _SPLITS) if row.by_split else "-"
    counts = ["-" if count is None else str(count) for count in (row.sighted, row.pictures)]
    digests = [(digest or "-")[:_SHOWN] for digest in (row.raw, row.deduped, row.splits)]
    return (row.commit, row.date, digests[0], counts[0], digests[1], counts[1], digests[2], split, row.subject[:60])


def _files() -> tuple[str, str]:
    return str(dvc_pointer.POINTER), str(_LOCK)


def _version(commit: str, date: str, subject: str, texts: Mapping[str, str | None], cache: Path | None) -> Version:
    raw = dict(_outputs(texts[str(dvc_pointer.POINTER)])).get(paths.DATA.as_posix())
    made = dict(_outputs(texts[str(_LOCK)]))
    deduped, splits = made.get(paths.DEDUPED.as_posix()), made.get(paths.SPLITS.as_posix())
    return Version(
        commit,
        date,
        subject,
        raw,
        _sighted(cache, raw),
        deduped,
        _rows(cache, deduped),
        splits,
        _by_split(cache, splits),
    )


def _outputs(text: str | None) -> Iterator[tuple[str, str]]:
    """Yield path and md5 of the outputs in the text of data.dvc or dvc.lock; nothing for a broken file."""
    try:
        document = yaml.safe_load(text or "") or {}
        for owner in (document, *(document.get("stages") or {}).values()):
            for out in owner.get("outs") or []:
                yield str(out["path"]), str(out["md5"])
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return  # such as a merge conflict


def _sighted(cache: Path | None, md5: str | None) -> int | None:
    listed = dvc_pointer.listing(cache, md5) if cache and md5 else None
    if listed is None:
        return None
    counts = [_rows(cache, each) for name, each in listed.items() if name.startswith("sightings/")]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _rows(cache: Path | None, md5: str | None) -> int | None:
    try:
        return int(pq.read_metadata(dvc_pointer.object_path(cache, md5)).num_rows) if cache and md5 else None
    except (OSError, pa.ArrowInvalid):
        return None


def _by_split(cache: Path | None, md5: str | None) -> dict[str, int] | None:
    try:
        column = (
            pq.read_table(dvc_pointer.object_path(cache, md5), columns=["split"])["split"] if cache and md5 else None
        )
    except (OSError, pa.ArrowInvalid):
        return None
    if column is None:
        return None
    counts = {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}
    return {name: int(counts.get(name, 0)) for name in _SPLITS}


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _committed(commit: str) -> dict[str, str | None]:
    """Return data.dvc and dvc.lock as a commit has them, None for a missing one."""
    texts: dict[str, str | None] = {}
    for name in _files():
        texts[name] = git.run("show", f"{commit}:./{name}").text
    return texts


def _git(*arguments: str) -> str:
    text, problem = git.run(*arguments, seconds=None)
    if text is None:
        raise UserError(f"git refuses, and its commits are what versions the data: {problem}")
    return text
