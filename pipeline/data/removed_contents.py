"""Contents that were taken down for good: data/sightings/removed/*.csv, a file for each removal, append-only.

They are in the folder of the sightings, which every stage that reads sightings depends on already. Each removal has a
file of its own, so that those of two branches merge. A row: `sha256, reason, removed_at, removed_by, selector`.
"""

import hashlib
import re
from pathlib import Path

import pandas as pd

from pipeline.core import tables
from pipeline.core.errors import UserError
from pipeline.data.escalations import is_escalated

FOLDER = "removed"
COLUMNS = ("sha256", "reason", "removed_at", "removed_by", "selector")

_SHA256 = re.compile(r"[0-9a-f]{64}")


def load(sightings: Path) -> pd.DataFrame:
    """Return the rows of all removals, in order; texts.

    Raises:
        UserError: the sha256 of a row is invalid.

    """
    parts = []
    for path in sorted((sightings / FOLDER).glob("*.csv")):
        rows = tables.read_csv(path, COLUMNS)[list(COLUMNS)]
        for line, sha256 in enumerate(rows["sha256"], start=2):
            if not _SHA256.fullmatch(sha256):
                raise UserError(f"{path}, line {line}: {sha256!r} is no sha256. `dvc checkout data` brings it back.")
        parts.append(rows)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS), dtype="str")


def reasons(sightings: Path) -> dict[str, str]:
    """Return why each content was removed, `removed: ...` or `escalated: ...`, by sha256; the first reason counts.

    That a screen matched counts more than any other reason.
    """
    rows = load(sightings)
    rows = rows.assign(other=~rows["reason"].map(is_escalated).astype(bool))
    rows = rows.sort_values("other", kind="stable").drop_duplicates("sha256", keep="first")
    return {
        sha256: reason if is_escalated(reason) else f"removed: {reason}"
        for sha256, reason in zip(rows["sha256"], rows["reason"], strict=True)
    }


def record(sightings: Path, rows: pd.DataFrame) -> Path:
    """Write the rows of one removal as a new file, named by time and content; return its path."""
    digest = hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()
    moment = re.sub(r"[-:]", "", str(rows["removed_at"].iloc[0]))
    path = sightings / FOLDER / f"{moment}-{digest[:12]}.csv"
    tables.write_csv(rows[list(COLUMNS)], path)
    return path
