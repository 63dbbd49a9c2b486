"""`nsfw data screen`: screens what was ingested before, as when a list has grown, and takes out what matches."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import (
    batch_names,
    completeness,
    dvc_pointer,
    escalations,
    folder,
    project,
    removal,
    shards,
    sightings,
)
from pipeline.data.escalations import Verdict
from pipeline.data.shards import Member
from pipeline.params.root import Params
from pipeline.screening.screens import Screens
from pipeline.screening.stream import Stream
from pipeline.takedown import clearing, leftovers, takedown

_SHOWN = 10
DOOR = "data screen"


def screen(params: Params, screens: Screens, *, dry_run: bool = False) -> dict[str, Any]:
    """Screen every stored content; record what matches, take it out of data/, and version that.

    Keys: dry_run, contact, screened (contents), pictures (sha256, reason, files), unscreened (sha256, reason), and, of
    those that match, what `takedown.remove` reports: shards, near, versions, left and their problems.

    Raises:
        UserError: data/ is not whole, or a screen is out of service.

    """
    if not paths.SIGHTINGS.is_dir():
        raise UserError("there is no data/ here. Fetch it with `dvc pull data.dvc` and run this again.")
    with project.ingest_lock():
        completeness.check(paths.DATA)
        if not dry_run:
            folder.prepare(paths.DATA)
        verdicts, count = _verdicts(screens)
        matched = {sha256: one for sha256, one in verdicts.items() if one.matches}
        seen = sightings.load(paths.SIGHTINGS)
        held = removal.count_by_shard(set(matched))
        near, near_problem = takedown.near_copies(seen, set(matched))
        files = seen[seen["sha256"].isin(list(matched))]
        named = list(zip(files["sha256"], files["origin"], files["source"], strict=True))
        if matched and not dry_run:
            _take_out(matched, named)
    versions, versions_problem = takedown.versions_of(params, set(matched)) if matched else ([], "")
    return {
        "dry_run": dry_run,
        "contact": screens.contact,
        "screened": count,
        "pictures": [
            {
                "sha256": sha256,
                "reason": one.reason,
                "files": [f"{of}: {at}" for name, at, of in named if name == sha256],
            }
            for sha256, one in sorted(matched.items())
        ],
        "unscreened": [
            {"sha256": sha256, "reason": one.reason} for sha256, one in sorted(verdicts.items()) if one.problem
        ],
        "shards": held,
        "near": near,
        "near_problem": near_problem if matched else "",
        "versions": versions,
        "versions_problem": versions_problem,
        "left": None if dry_run or not matched else leftovers.collect(set(matched)),
    }


def _take_out(matched: Mapping[str, Verdict], named: Sequence[tuple[str, str, str]]) -> None:
    """Record what matched, by sha256, and delete it from data/; `named`: sha256, origin and source of each file."""
    rows = [row for name, at, of in named for row in matched[name].rows(origin=at, source=of, door=DOOR)]
    escalations.append(paths.ESCALATION_RECORDS, rows)
    removal.record_escalated(paths.SIGHTINGS, {name: one.reason for name, one in matched.items()}, DOOR)
    clearing.clear(set(matched))
    project.add_data()


def _verdicts(screens: Screens) -> tuple[dict[str, Verdict], int]:
    """Return the verdicts that are no pass, by sha256, and how many contents were screened."""
    listed = [
        (shard, member) for shard in batch_names.shard_files(paths.SHARDS) for member in shards.list_members(shard)
    ]
    verdicts, names = {}, set()
    bar: Iterable[tuple[Path, Member]] = tqdm(listed, desc="screen", unit="picture", disable=None)
    for (_, member), verdict in Stream(screens).screen(bar, _content):
        names.add(member.sha256)
        if verdict is not None and verdict.reason:
            verdicts[member.sha256] = verdict
    return verdicts, len(names)


def _content(at: tuple[Path, Member]) -> bytes:
    return shards.read(at[0].parent, at[1])


def describe(report: dict[str, Any]) -> list[str]:
    """Return the report of `screen` for a terminal."""
    pictures, unscreened = report["pictures"], report["unscreened"]
    lines = [f"{report['screened']} pictures screened: {len(pictures)} match"]
    if unscreened:
        lines.append(f"{len(unscreened)} could not be screened, and stay as they are: run this again")
        lines += [f"  {row['sha256']}  {row['reason']}" for row in unscreened[:_SHOWN]]
    if not pictures:
        return lines
    lines += [call(report["contact"], paths.ESCALATION_RECORDS if not report["dry_run"] else None)]
    act = "would be taken out" if report["dry_run"] else "taken out"
    lines += [f"  {act}: {row['sha256']}  {row['reason']}: {', '.join(row['files'])}" for row in pictures[:_SHOWN]]
    lines += [f"  and {len(pictures) - _SHOWN} more: see --json"] * (len(pictures) > _SHOWN)
    lines += takedown.describe_traces(report)
    if report["dry_run"]:
        return [*lines, "nothing was written: without --dry-run it is"]
    commit = f"next: git add {dvc_pointer.POINTER} && git commit -m 'Take out what screens match'"
    return [*lines, *leftovers.describe(report["left"]), commit, "      dvc repro"]


def call(contact: str, records: Path | None) -> str:
    """Return the line that tells an operator whom to call."""
    where = f"; the records, hashes alone: {records}" if records else ""
    return f"CALL {contact}. Do not open, copy or send these files{where}"
