"""`nsfw show SHA256`: everything known about one picture, from the ingested file to the model's prediction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core import files, paths, tables
from pipeline.core.errors import UserError
from pipeline.data import annotation_files, batch_names, shards, sightings
from pipeline.data.shards import Member
from pipeline.duplicates import explain

_SEEN = ("label", "origin", "source", "fetched_at", "status", "reason")
_MOST = 10  # files of one picture, on a terminal


def collect(sha256: str, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return what every table holds about a picture, ready for JSON; `sha256` may be a prefix.

    Keys: sha256; sightings; quarantine (reasons); fate (as `nsfw duplicates explain`), None if it is not catalogued;
    split; prediction ({class: probability}) and its split; suspicion (suggested label, rank); decisions; reports;
    slices. A value that no stage has made yet is None.

    Raises:
        UserError: no picture, or more than one, has this prefix.

    """
    seen = sightings.load_nonempty(paths.SIGHTINGS)
    none = f"no file in data/ begins with {sha256}. Tables and reports name pictures by their sha256."
    full = explain.find_by_prefix(seen["sha256"].dropna(), sha256, none)
    rows = seen[seen["sha256"] == full]
    catalogued = full in set(_column(paths.CATALOG, "sha256"))
    quarantined = _rows(paths.QUARANTINE, full, lambda path: tables.read_csv(path, ("sha256", "reason")))
    split = _rows(paths.SPLITS, full, tables.read_parquet)
    answer = _rows(paths.PREDICTIONS, full, tables.read_parquet)
    issues = _rows(paths.LABEL_ISSUES, full, lambda path: tables.read_csv(path, ("sha256", "suggested", "rank")))
    return {
        "sha256": full,
        "sightings": [{key: str(row[key]) for key in _SEEN} for row in rows.to_dict("records")],
        "quarantine": sorted({str(row["reason"]) for row in quarantined}),
        "fate": explain.collect(full) if catalogued and paths.DEDUPED.is_file() else None,
        "split": split[0]["split"] if split else None,
        "prediction": _probabilities(answer[0]) if answer else None,
        "suspicion": {"suggested": issues[0]["suggested"], "rank": int(issues[0]["rank"])} if issues else None,
        "decisions": _rows(paths.DECISIONS, full, lambda path: annotation_files.decisions(path, labels)),
        "reports": _rows(paths.REPORTS, full, lambda path: annotation_files.reports(path, labels)),
        "slices": [row["slice"] for row in _rows(paths.SLICES, full, annotation_files.slices)],
    }


def write(sha256: str, out: Path) -> None:
    """Write a picture's original bytes to `out`.

    Raises:
        UserError: the bytes are not in data/shards, or `out` cannot be written.

    """
    member = _member(sha256)
    with files.atomic(out) as temporary:
        temporary.write_bytes(shards.read(paths.SHARDS, member))


def describe(known: dict[str, Any]) -> list[str]:
    """Return `collect`'s document as lines for a terminal."""
    seen = known["sightings"]
    lines = [known["sha256"]]
    for row in seen[:_MOST]:
        reason = row["reason"].removeprefix(f"{row['status']}: ")
        refused = "" if row["status"] == "stored" else f", {row['status']}: {reason}"
        lines.append(
            f"  seen        {row['origin']!r} of {row['source']}, as {row['label']}, {row['fetched_at'][:10]}{refused}"
        )
    lines += [f"              and {len(seen) - _MOST} more files"] * (len(seen) > _MOST)
    lines += [f"  quarantine  {reason}" for reason in known["quarantine"]]
    if known["fate"] is not None:
        head, *rest = explain.describe(known["fate"])
        lines += [f"  dedupe      {head.partition(': ')[2]}", *(f"            {line}" for line in rest)]
    lines.append(f"  split       {known['split'] or '-'}")
    if known["prediction"]:
        ranked = sorted(known["prediction"].items(), key=lambda pair: -pair[1])
        lines.append("  model       " + ", ".join(f"{name} {value:.3f}" for name, value in ranked))
    if known["suspicion"]:
        lines.append(f"  suspicious  looks like {known['suspicion']['suggested']}, number {known['suspicion']['rank']}")
    for row in known["decisions"]:
        lines.append(f"  decided     {row['new_label']} by {row['reviewer']} on {row['decided_at']}: {row['reason']}")
    for row in known["reports"]:
        lines.append(f"  reported    {row['expected_label']}, ticket {row['ticket'] or '-'}, on {row['reported_at']}")
    lines += [f"  slice       {name}" for name in known["slices"]]
    return lines


def _column(path: Path, name: str) -> list[str]:
    return tables.read_parquet(path, [name])[name].tolist() if path.is_file() else []


def _rows(path: Path, sha256: str, read: Callable[[Path], pd.DataFrame]) -> list[dict[str, Any]]:
    """Return a table's rows of a picture; [] if the table has not been made yet."""
    if not path.is_file():
        return []
    table = read(path)
    return [
        {str(key): value for key, value in row.items()} for row in table[table["sha256"] == sha256].to_dict("records")
    ]


def _probabilities(row: dict[str, Any]) -> dict[str, float]:
    return {name.removeprefix("p_"): float(value) for name, value in row.items() if name.startswith("p_")}


def _member(sha256: str) -> Member:
    for shard in batch_names.shard_files(paths.SHARDS):
        for member in shards.list_members(shard):
            if member.sha256 == sha256:
                return member
    raise UserError(
        f"the bytes of {sha256} are not in {paths.SHARDS}: refused, taken down, or not fetched (`dvc pull`)."
    )
