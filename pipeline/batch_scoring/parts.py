"""The rows that are done, in a folder beside the result: a file each few hundred inputs, written whole or not at all.

A run that was killed is begun again by the same command: it finds its parts, and scores what is not in them.
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

SIZE = 512  # inputs a part: what a kill costs at most
_RECIPE = "recipe.json"
_LOCK = "lock"


def folder_of(out: Path) -> Path:
    """Return where the parts of a result lie."""
    return out.with_name(f"{out.name}.parts")


@contextmanager
def opened(out: Path, recipe: Mapping[str, Any], *, restart: bool) -> Iterator[Path]:
    """Yield the folder of a result's parts, for this process alone.

    `recipe`: all that the rows depend on, beside the pictures. `restart`: parts of another recipe are thrown away.

    Raises:
        UserError: another process is at it, or the parts that are there were made by another recipe.

    """
    folder = folder_of(out)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another `nsfw score` is writing {out}. Wait for it to end.") from None
        _agree(folder, json.loads(json.dumps(recipe)), restart=restart)
        yield folder


def _agree(folder: Path, recipe: dict[str, Any], *, restart: bool) -> None:
    known = _known(folder / _RECIPE)
    if known == recipe:
        return
    if any(folder.glob("*.parquet")):
        if not restart:
            changed = sorted(key for key in known.keys() | recipe.keys() if known.get(key) != recipe.get(key))
            told = "; ".join(f"{key} was {known.get(key)}, is {recipe.get(key)}" for key in changed)
            raise UserError(
                f"{folder} holds rows that were scored otherwise ({told}). They and new ones do not mix: "
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


def place(folder: Path, number: int) -> Path:
    """Return where a part lies."""
    return folder / f"{number:08d}.parquet"


def load(folder: Path, number: int, schema: pa.Schema) -> pa.Table | None:
    """Return a part, or None where there is none that can be read: its inputs are scored again."""
    path = place(folder, number)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    return table if table.schema.equals(schema) else None


def keep(folder: Path, number: int, table: pa.Table) -> None:
    """Write a part, unless that is what lies there."""
    known = load(folder, number, table.schema)
    if known is None or not known.equals(table):
        with atomic(place(folder, number)) as temporary:
            pq.write_table(table, temporary)


def clear(folder: Path) -> None:
    """Remove the parts, the recipe and what writers that were killed have left; the lock stays."""
    for file in folder.iterdir():
        if file.name != _LOCK:
            file.unlink()


def remove(folder: Path) -> None:
    """Remove the folder with all that is in it."""
    clear(folder)
    (folder / _LOCK).unlink(missing_ok=True)
    folder.rmdir()
