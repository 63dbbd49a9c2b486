"""Which registered versions learned from given pictures: by the split table that each was trained on.

A version's evidence names the sha256 of build/splits.parquet as its training read it; the table itself lies in DVC's
cache, and DVC's own records (dvc.lock, its run cache) tell under which md5. Where it cannot be had, that is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.data import dvc_pointer
from pipeline.registry import evidence_store, state
from pipeline.registry.evidence_store import DoubtfulError
from pipeline.tracking import server
from pipeline.tracking.lineage import digest

if TYPE_CHECKING:
    from pipeline.params.root import Params

_PART = {"train": "learned from", "val": "was chosen by", "test": "was measured on"}


def learned(params: Params, sha256: set[str]) -> list[dict[str, Any]]:
    """Return each version with the pictures of `sha256` that were in its `train`, `val` and `test`.

    Keys: model, version, aliases, train, val, test (sorted sha256), and doubt: why nobody can tell of train; "" where
    it is known. Val and test are known from the version's own predictions.

    Raises:
        UserError: nothing is registered.
        Unreachable: the server does not answer.

    """
    splits = _SplitTables()
    found = []
    with server.session() as client:
        now = state.read(client, params.register_)
        for version in now.versions:
            aliases = sorted(name for name, number in now.aliases.items() if number == version)
            row: dict[str, Any] = {"model": now.model, "version": version, "aliases": aliases}
            row |= {"train": [], "val": [], "test": [], "doubt": ""}
            try:
                row |= _of_dossier(evidence_store.fetch(client, now.model, version), splits, sha256)
            except DoubtfulError as error:
                row["doubt"] = str(error)
            found.append(row)
    return found


def lines(found: list[dict[str, Any]]) -> list[str]:
    """Return what `learned` found, for a terminal."""
    text = []
    for row in found:
        said = [f"{what} {len(row[part])} of them" for part, what in _PART.items() if row[part]]
        if row["doubt"]:
            said.append(f"whether it learned from them nobody can tell: {row['doubt']}")
        named = f" ({', '.join(row['aliases'])})" if row["aliases"] else ""
        text.append(f"  version {row['version']}{named}: {'; '.join(said) or 'learned from none of them'}")
    return text


def _of_dossier(dossier: evidence_store.Dossier, splits: _SplitTables, sha256: set[str]) -> dict[str, Any]:
    rows = dossier.predictions
    named = {part: _inside(rows[rows["split"] == part]["sha256"], sha256) for part in ("val", "test")}
    if dossier.facts.get("imported"):
        return named | {"doubt": "it was trained elsewhere"}
    inputs = {entry["name"]: entry["digest"] for entry in dossier.facts.get("inputs", [])}
    wanted = inputs.get(paths.SPLITS.as_posix())
    if wanted is None:
        return named | {"doubt": f"its run names no {paths.SPLITS}"}
    table = splits.get(wanted)
    if table is None:
        lacking = f"its {paths.SPLITS} (sha256 {wanted[:12]}) is not in this machine's DVC cache"
        way_out = "`nsfw trace` names its commit, and there `dvc fetch split` may get it"
        return named | {"doubt": f"{lacking}; {way_out}"}
    return {part: _inside(table[table["split"] == part]["sha256"], sha256) for part in _PART}


def _inside(rows: pd.Series, sha256: set[str]) -> list[str]:
    return sorted(set(rows) & sha256)


class _SplitTables:
    """Every build/splits.parquet that this machine has, by the sha256 of its bytes; each is read when asked for."""

    def __init__(self) -> None:
        self._places: dict[str, Path] | None = None

    def get(self, sha256: str) -> pd.DataFrame | None:
        if self._places is None:
            self._places = {digest(path): path for path in _split_tables() if path.is_file()}
        try:
            place = self._places.get(sha256)
            return None if place is None else tables.read_parquet(place, ["sha256", "split"])
        except UserError:
            return None


def _split_tables() -> Iterator[Path]:
    yield paths.SPLITS
    cache = dvc_pointer.objects()
    if cache is not None:
        records = [Path("dvc.lock"), *sorted((cache.parents[1] / "runs").glob("??/*/*"))]
        for md5 in sorted({md5 for record in records for md5 in _outs(record)}):
            yield dvc_pointer.stored_at(cache, md5)


def _outs(record: Path) -> Iterator[str]:
    """Yield the md5 of every split table that dvc.lock, or a record of DVC's run cache, names."""
    try:
        document = yaml.load(record.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 -- a safe loader
        for stage in document.get("stages", {"": document}).values():
            for out in stage.get("outs", []):
                if out.get("path") == paths.SPLITS.as_posix() and out.get("md5"):
                    yield str(out["md5"])
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError):
        return
