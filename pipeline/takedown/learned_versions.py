"""Finds the registered versions that were trained on given pictures, by the split table of each training.

A version's evidence has the sha256 of the build/splits.parquet that its training read. The table is in DVC's cache, and
DVC's records (dvc.lock, its run cache) have its md5. If the table is not there, that is reported.
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
from pipeline.registry.evidence_store import EvidenceError
from pipeline.tracking import server
from pipeline.tracking.lineage import digest

if TYPE_CHECKING:
    from pipeline.params.root import Params

_PART = {"train": "learned from", "val": "was chosen by", "test": "was measured on"}


def versions_trained_on(params: Params, sha256: set[str]) -> list[dict[str, Any]]:
    """Return each version with the pictures of `sha256` that were in its `train`, `val` and `test`.

    Keys: model, version, aliases, train, val, test (sorted sha256), and doubt: why train is not known, or "". Val and
    test are known from the version's own predictions.

    Raises:
        UserError: nothing is registered.
        Unreachable: the server does not answer.

    """
    splits = _SplitTables()
    rows = []
    with server.session() as client:
        now = state.read(client, params.register_)
        for version in now.versions:
            aliases = sorted(name for name, number in now.aliases.items() if number == version)
            row: dict[str, Any] = {"model": now.model, "version": version, "aliases": aliases}
            row |= {"train": [], "val": [], "test": [], "doubt": ""}
            try:
                row |= _used_pictures(evidence_store.fetch(client, now.model, version), splits, sha256)
            except EvidenceError as error:
                row["doubt"] = str(error)
            rows.append(row)
    return rows


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the rows of `versions_trained_on` for a terminal."""
    text = []
    for row in rows:
        parts = [f"{what} {len(row[part])} of them" for part, what in _PART.items() if row[part]]
        if row["doubt"]:
            parts.append(f"whether it was trained on them is not known: {row['doubt']}")
        named = f" ({', '.join(row['aliases'])})" if row["aliases"] else ""
        text.append(f"  version {row['version']}{named}: {'; '.join(parts) or 'learned from none of them'}")
    return text


def _used_pictures(evidence: evidence_store.Evidence, splits: _SplitTables, sha256: set[str]) -> dict[str, Any]:
    rows = evidence.predictions
    named = {part: _inside(rows[rows["split"] == part]["sha256"], sha256) for part in ("val", "test")}
    if evidence.facts.get("imported"):
        return named | {"doubt": "it was trained elsewhere"}
    inputs = {entry["name"]: entry["digest"] for entry in evidence.facts.get("inputs", [])}
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
    """Every build/splits.parquet that this machine has, by the sha256 of its bytes; a table is read on demand."""

    def __init__(self) -> None:
        self._paths: dict[str, Path] | None = None

    def get(self, sha256: str) -> pd.DataFrame | None:
        if self._paths is None:
            self._paths = {digest(path): path for path in _split_tables() if path.is_file()}
        try:
            path = self._paths.get(sha256)
            return None if path is None else tables.read_parquet(path, ["sha256", "split"])
        except UserError:
            return None


def _split_tables() -> Iterator[Path]:
    yield paths.SPLITS
    cache = dvc_pointer.cache_folder()
    if cache is not None:
        records = [Path("dvc.lock"), *sorted((cache.parents[1] / "runs").glob("??/*/*"))]
        for md5 in sorted({md5 for record in records for md5 in _outs(record)}):
            yield dvc_pointer.object_path(cache, md5)


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
