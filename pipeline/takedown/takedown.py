"""`nsfw data remove`: removes pictures for good; reports models trained on them, near copies and leftovers."""

from typing import Any

import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.data import completeness, dvc_pointer, folder, project, removal, sightings
from pipeline.params.root import Params
from pipeline.takedown import clearing, leftovers, selection
from pipeline.takedown.selection import Selector

_SHOWN = 10


def remove(params: Params, selector: Selector, reason: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove what is selected from data/ and version that; or, with `dry_run`, only report.

    Keys: selector, reason, dry_run, pictures (sha256, files), new (how many were not removed before), shards (contents
    by shard that held any), near (as `near_copies` has it), versions and versions_problem, left (as
    `leftovers.collect` has it; null in a dry run).

    Raises:
        UserError: data/ is not whole, or nothing is selected.

    """
    if not paths.SIGHTINGS.is_dir():
        raise UserError("there is no data/ here. Fetch it with `dvc pull data.dvc` and run this again.")
    with project.ingest_lock():
        completeness.check(paths.DATA)
        if not dry_run:
            folder.prepare(paths.DATA)  # completes a batch whose ingest was killed at its very end
        seen = sightings.load(paths.SIGHTINGS)
        files = selection.select(seen, selector)
        chosen = set(files["sha256"])
        new = len(set(files.loc[~files["status"].isin(sightings.GONE), "sha256"]))
        near, problem = near_copies(seen, chosen)
        shards = removal.count_by_shard(chosen)
        if not dry_run:
            removal.record(paths.SIGHTINGS, sorted(chosen), reason, str(selector))
            clearing.clear(chosen)
            project.add_data()
    versions, versions_problem = versions_of(params, chosen)
    return {
        "selector": str(selector),
        "reason": reason,
        "dry_run": dry_run,
        "pictures": _pictures(files),
        "new": new,
        "shards": shards,
        "near": near,
        "near_problem": problem,
        "versions": versions,
        "versions_problem": versions_problem,
        "left": None if dry_run else leftovers.collect(chosen),
    }


def _pictures(files: pd.DataFrame) -> list[dict[str, Any]]:
    files = files.assign(file=files["source"] + ": " + files["origin"])
    return [{"sha256": sha256, "files": rows.tolist()} for sha256, rows in files.groupby("sha256")["file"]]


def near_copies(seen: pd.DataFrame, chosen: set[str]) -> tuple[list[dict[str, Any]], str]:
    """Return the near copies, by `dedupe`, of the chosen pictures that are not chosen; or why they are not known.

    Keys: sha256, of (the chosen ones of its cluster), cluster, distance (bits, to the canonical picture; null for
    that one), files.
    """
    try:
        canonical = tables.read_parquet(paths.DEDUPED, ["sha256", "cluster"])
        copies = tables.read_parquet(paths.DUPLICATES, ["sha256", "cluster", "kind", "distance"])
    except UserError:
        return [], f"{paths.DUPLICATES} is not here: `dvc repro dedupe` before a removal finds near copies"
    rows = pd.concat([copies[copies["kind"] == "near"], canonical]).drop_duplicates("sha256")
    gone = chosen | set(seen.loc[seen["status"].isin(sightings.GONE), "sha256"])
    near = rows[rows["cluster"].isin(rows.loc[rows["sha256"].isin(chosen), "cluster"]) & ~rows["sha256"].isin(gone)]
    copies_near = []
    for row in near.sort_values(["cluster", "distance", "sha256"]).to_dict("records"):
        of = sorted(set(rows.loc[rows["cluster"] == row["cluster"], "sha256"]) & chosen)
        files = seen.loc[seen["sha256"] == row["sha256"], "origin"].tolist()
        distance = None if pd.isna(row["distance"]) else int(row["distance"])
        copies_near.append(
            {"sha256": row["sha256"], "of": of, "cluster": row["cluster"], "distance": distance, "files": files}
        )
    unknown = len(chosen - set(rows["sha256"]))
    return copies_near, f"{unknown} of them are not among what the last `dvc repro` compared" if unknown else ""


def versions_of(params: Params, chosen: set[str]) -> tuple[list[dict[str, Any]], str]:
    """Return the registered versions with what they learned of the chosen pictures; or why that is not known."""
    from pipeline.takedown import learned_versions
    from pipeline.tracking import server
    from pipeline.tracking.publish import describe

    try:
        return server.run_watched(lambda: learned_versions.versions_trained_on(params, chosen)), ""
    except UserError as error:
        return [], str(error)
    except Exception as error:  # noqa: BLE001 -- the removal is done: errors of MLflow are only reported
        return [], f"MLflow cannot be asked ({describe(error)}): run this again once it answers"


def describe(report: dict[str, Any]) -> list[str]:
    """Return the report of `remove` for a terminal."""
    head = f"{len(report['pictures'])} pictures, {report['new']} of them not removed before"
    lines = [f"would remove {head}:" if report["dry_run"] else f"removed {head}:"]
    lines += _some([f"  {row['sha256']}  {', '.join(row['files'])}" for row in report["pictures"]])
    lines += describe_traces(report)
    if report["left"] is None:
        return [*lines, "nothing was written: without --dry-run it is"]
    commit = f"next: git add {dvc_pointer.POINTER} && git commit -m 'Remove pictures'"
    return [*lines, *leftovers.describe(report["left"]), commit, "      dvc repro"]


def describe_traces(report: dict[str, Any]) -> list[str]:
    """Return where pictures that are taken out lay, their near copies, and the versions that know them."""
    from pipeline.takedown import learned_versions

    lines = [
        f"  {count} {'lie in' if report['dry_run'] else 'left'} {name}" for name, count in report["shards"].items()
    ]
    lines.append(
        f"near copies, which stay: {len(report['near'])}"
        + (f" ({report['near_problem']})" if report["near_problem"] else "")
    )
    for row in report["near"]:
        how = "the one learned from" if row["distance"] is None else f"{row['distance']} bits"
        lines.append(f"  {row['sha256']}  {how}, of {row['of'][0][:12]}: {', '.join(row['files'])}")
    if report["near"]:
        lines.append("  look at them, and remove what is the same: nsfw data remove --sha256 ...")
    lines.append(
        f"registered versions: {report['versions_problem']}" if report["versions_problem"] else "registered versions:"
    )
    return lines + learned_versions.lines(report["versions"])


def _some(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"  and {len(lines) - _SHOWN} more: see --json"]
