"""Corrects the artifact paths of a sqlite store that was moved or copied with its project.

MLflow stores absolute artifact paths in the database. In a renamed project they would be lost, and a copied project
would write into the original. So each experiment of ours has a tag with the folder of its database; if the database is
in another folder now, the paths below the old folder are rewritten.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

ARTIFACTS = "mlartifacts"  # in the folder of the database
ROOT_TAG = "nsfw.root"  # of an experiment: the database's folder
_KIND_TAG = "mlflow.experimentKind"
# Every column that MLflow reads an artifact path from; for tags, with the key. Datasets and sources record history.
_COLUMNS = (
    ("experiments", "artifact_location", ""),
    ("runs", "artifact_uri", ""),
    ("logged_models", "artifact_location", ""),
    ("model_versions", "source", ""),
    ("model_versions", "storage_location", ""),
    ("trace_tags", "value", "mlflow.artifactLocation"),
    ("experiment_tags", "value", ROOT_TAG),
)
_WAIT_SECONDS = 60.0


def relocate(database: Path) -> Path | None:
    """Rewrite the artifact paths in a store that is in another folder now, in one transaction.

    Returns the folder that it was created in, or None if nothing had to change.

    Raises:
        sqlite3.Error: the paths have to be changed, and the database refuses.

    """
    here = database.resolve().parent
    moved = _origins(database, here)
    if not moved:
        return None
    with closing(sqlite3.connect(database, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for origin in moved:
            _rewrite(connection, origin, here)
        connection.execute("COMMIT")
    return moved[0]


def _origins(database: Path, here: Path) -> list[Path]:
    """Return the folders, other than `here`, that held the store's artifacts; [] for a file that is not MLflow's."""
    if not database.is_file():
        return []
    uri = f"file:{quote(str(database.resolve()))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_SECONDS)) as connection:
            rows = connection.execute(
                "SELECT e.experiment_id, e.artifact_location, r.value, k.value FROM experiments e "
                "LEFT JOIN experiment_tags r ON r.experiment_id = e.experiment_id AND r.key = ? "
                "LEFT JOIN experiment_tags k ON k.experiment_id = e.experiment_id AND k.key = ?",
                (ROOT_TAG, _KIND_TAG),
            ).fetchall()
            origins = {
                _origin(connection, number, location, root, here)
                for number, location, root, kind in rows
                if root or kind
            }
    except sqlite3.Error:  # no database, or one without a schema: MLflow creates it, or reports what is wrong
        return []
    return sorted(origins - {here, None}, key=str)  # type: ignore[arg-type] # None is taken out


def _origin(connection: sqlite3.Connection, number: int, location: str, root: str | None, here: Path) -> Path | None:
    """Return the folder of an experiment's store; None if the experiment was given another artifact location."""
    if root:
        return Path(root)
    # An experiment from before there was a tag with the folder.
    path = _path(location)
    if path is None or path.name != ARTIFACTS:
        return None
    runs = [run for (run,) in connection.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (number,))]
    if any((here / ARTIFACTS / run).is_dir() for run in runs) or not path.is_dir():
        return path.parent
    return None


def _path(location: str) -> Path | None:
    parts = urlsplit(location)
    return Path(unquote(parts.path) if parts.scheme else location) if parts.scheme in {"", "file"} else None


def _rewrite(connection: sqlite3.Connection, origin: Path, here: Path) -> None:
    known = {
        (table, column)
        for table, _, _ in _COLUMNS
        for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    }
    for table, column, key in _COLUMNS:
        if (table, column) in known:
            for before, after in _prefixes(origin, here):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 -- our own names
                    f"WHERE substr({column} || '/', 1, ?) = ?" + (" AND key = ?" if key else ""),
                    (after, len(before) + 1, len(before) + 1, f"{before}/", *([key] if key else [])),
                )
    connection.execute(
        "INSERT OR IGNORE INTO experiment_tags (key, value, experiment_id) "
        "SELECT ?, ?, experiment_id FROM experiments WHERE artifact_location = ?",
        (ROOT_TAG, str(here), (here / ARTIFACTS).as_uri()),
    )


def _prefixes(origin: Path, here: Path) -> Iterator[tuple[str, str]]:
    """Yield pairs of prefixes: as a path below `origin` may begin, and as it must begin here."""
    yield str(origin), str(here)
    yield origin.as_uri(), here.as_uri()
    if origin.as_uri() != f"file://{origin}":  # MLflow escapes nothing in some places
        yield f"file://{origin}", f"file://{here}"
