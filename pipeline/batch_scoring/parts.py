"""Finished rows, in a folder beside the result: one file for a few hundred inputs, each written atomically.

After a run was killed, the same command finds these parts and scores only what is missing.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import UserError
from pipeline.core.files import atomic, write_json

SIZE = 512  # inputs in a part; a killed run loses at most the work on one part
_RECIPE = "recipe.json"
_LOCK = "lock"


def folder_of(out: Path) -> Path:
    """Return the folder for the parts of a result."""
    return out.with_name(f"{out.name}.parts")


@contextmanager
def open_parts(out: Path, recipe: Mapping[str, Any], *, restart: bool) -> Iterator[Path]:
    """Yield the folder of a result's parts, locked for this process.

    Args:
        out: the result.
        recipe: everything besides the pictures that the rows depend on.
        restart: discard existing parts with another recipe.

    Raises:
        UserError: another process has the lock, or existing parts have another recipe (without `restart`).

    """
    folder = folder_of(out)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another `nsfw score` is writing {out}. Wait for it to end.") from None
        _check_recipe(folder, json.loads(json.dumps(recipe)), restart=restart)
        yield folder


def _check_recipe(folder: Path, recipe: dict[str, Any], *, restart: bool) -> None:
    known = _known(folder / _RECIPE)
    if known == recipe:
        return
    if any(folder.glob("*.parquet")):
        if not restart:
            changed = sorted(key for key in known.keys() | recipe.keys() if known.get(key) != recipe.get(key))
            differences = "; ".join(f"{key} was {known.get(key)}, is {recipe.get(key)}" for key in changed)
            raise UserError(
                f"{folder} holds rows that were scored otherwise ({differences}). They and new ones do not mix: "
                "--restart throws them away and begins anew; another --out leaves them."
            )
        clear(folder)
    write_json(recipe, folder / _RECIPE)


def _known(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def path_of(folder: Path, number: int) -> Path:
    """Return the file of a part."""
    return folder / f"{number:08d}.parquet"


def load(folder: Path, number: int, schema: pa.Schema) -> pa.Table | None:
    """Return a part, or None if there is none, or it is broken: its inputs are then scored again."""
    path = path_of(folder, number)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    return table if table.schema.equals(schema) else None


def save(folder: Path, number: int, table: pa.Table) -> None:
    """Write a part, unless the file already holds it."""
    known = load(folder, number, table.schema)
    if known is None or not known.equals(table):
        with atomic(path_of(folder, number)) as temporary:
            pq.write_table(table, temporary)


def clear(folder: Path) -> None:
    """Remove the parts, the recipe and temporary files of killed writers; the lock stays."""
    for file in folder.iterdir():
        if file.name != _LOCK:
            file.unlink()


def remove(folder: Path) -> None:
    """Remove the folder with everything in it."""
    clear(folder)
    (folder / _LOCK).unlink(missing_ok=True)
    folder.rmdir()
