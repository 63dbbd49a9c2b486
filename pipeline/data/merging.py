"""Merge data/ of two branches when `git merge` stops at data.dvc: each names a folder, of which git knows nothing.

    merged = merge()  # in a checkout with a conflict in data.dvc

Batches have names of their own, so sightings and shards of both branches stand side by side; rows of people's files are
merged (merge_rows); what one branch took down for good is taken down. It may be killed and run again: both versions lie
in DVC's cache, and git keeps the conflict until data.dvc is added.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pipeline.core import files, git, paths
from pipeline.core.errors import UserError
from pipeline.data import completeness, dvc_pointer, project, removal, removed_contents
from pipeline.data.merge_rows import merge_files

# People's files, append-only, and the column that orders their rows ("" for none).
ROW_FILES = {
    "decisions.csv": "decided_at",
    "reports.csv": "reported_at",
    "slices.csv": "",
    "escalations.csv": "screened_at",
}
_BASE, _OURS, _THEIRS = 1, 2, 3  # git's stages of a conflict
_NAMES = {_BASE: "their common ancestor", _OURS: "this branch", _THEIRS: "the other branch"}
_MOST = 5
Files = Mapping[str, str]  # md5 by path within data/


@dataclass
class Plan:
    """What becomes of each file: taken from DVC's cache by md5, its rows merged, or deleted; `problems` stop it."""

    take: dict[str, str] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Merged:
    """What came from the other branch: batches, new rows by file, files of removals; contents deleted from shards."""

    batches: int
    rows: dict[str, int]
    removals: int
    purged: int

    def lines(self) -> list[str]:
        """Return it for a terminal."""
        came = [f"{self.batches} batches", *(f"{count} rows of {name}" for name, count in self.rows.items())]
        lines = [f"came from the other branch: {', '.join(came)}, {self.removals} removals"]
        if self.purged:
            lines.append(f"{self.purged} contents that one branch took down were deleted from shards")
        return [*lines, "next: git add data.dvc && git commit"]


def merge() -> Merged:
    """Merge data/ of the two sides of a conflict in data.dvc, and version it.

    Raises:
        UserError: there is no such conflict; a version is in no cache or remote; a file was changed on both sides in
            ways that do not merge.

    """
    blobs = _blobs()
    with project.ingest_lock():
        sides = {stage: _listing(stage, blob) for stage, blob in blobs.items()}
        base, ours, theirs = sides.get(_BASE, {}), sides[_OURS], sides[_THEIRS]
        plan = plan_files(base, ours, theirs)
        if plan.problems:
            raise UserError("data/ cannot be merged:\n" + "".join(f"  {text}\n" for text in plan.problems[:_MOST]))
        cache = _cache()
        taken = {path: md5 for path, md5 in plan.take.items() if not _is_here(path, md5, ours)}
        of_rows = {side[name] for side in sides.values() for name in plan.rows if name in side}
        _fetch(cache, blobs, {*taken.values(), *of_rows})
        # All are read before any is written.
        merged = {name: _merged_rows(cache, name, base, ours, theirs) for name in plan.rows}
        for path, md5 in taken.items():
            _copy(dvc_pointer.object_path(cache, md5), paths.DATA / path)
        for path in plan.delete:
            (paths.DATA / path).unlink(missing_ok=True)
        for name, (content, _) in merged.items():
            with files.atomic(paths.DATA / name) as temporary:
                temporary.write_bytes(content)
        dvc_pointer.POINTER.write_text(blobs[_OURS], encoding="utf-8")  # nothing reads a file with git's marks in it
        purged = sum(removal.purge().values())
        completeness.check(paths.DATA)
        project.add_data()
    came = set(plan.take) - set(ours)
    removals = f"sightings/{removed_contents.FOLDER}/"
    return Merged(
        batches=sum(name.startswith("sightings/") and name.count("/") == 1 for name in came),
        rows={name: new for name, (_, new) in merged.items() if new},
        removals=sum(name.startswith(removals) for name in came),
        purged=purged,
    )


def plan_files(base: Files, ours: Files, theirs: Files) -> Plan:
    """Return what becomes of every file of the two versions, given their common ancestor's; paths and md5 alone."""
    plan = Plan()
    for path in sorted({*base, *ours, *theirs}):
        before, mine, other = (side.get(path) for side in (base, ours, theirs))
        if path in ROW_FILES and mine != other:
            plan.rows.append(path)
        elif mine == other:
            if mine is not None:
                plan.take[path] = mine
        elif mine is None or other is None:
            _plan_one_sided(plan, path, before, mine or other)
        elif mine == before:
            plan.take[path] = other
        elif other == before or path.startswith("shards/"):
            plan.take[path] = mine  # of a shard on both sides bytes were deleted: all are, in the end
        else:
            plan.problems.append(f"{path} differs on both branches: make it equal on one of them, commit, merge again")
    return plan


def _plan_one_sided(plan: Plan, path: str, before: str | None, md5: str | None) -> None:
    """Plan a file that one side lacks: it is new on the other side, or deleted here."""
    if before is None and md5 is not None:
        plan.take[path] = md5
    elif path.startswith(("sightings/", "shards/")):
        plan.problems.append(
            f"{path} is gone on one branch: it began anew with --fresh. Choose one: `git checkout --ours data.dvc`, or "
            "--theirs, then `dvc checkout data.dvc`"
        )
    elif md5 == before:
        plan.delete.append(path)
    elif md5 is not None:
        plan.take[path] = md5  # changed is more than deleted


def _blobs() -> dict[int, str]:
    """Return data.dvc by the stage of git's index: its text on both sides, and of their ancestor if it had one."""
    listed = git.run("ls-files", "--unmerged", "--", str(dvc_pointer.POINTER))
    if listed.text is None:
        raise UserError(f"git cannot list conflicts: {listed.problem}")
    stages = [int(line.split()[2]) for line in listed.text.splitlines()]
    if not {_OURS, _THEIRS} <= set(stages):
        raise UserError(f"{dvc_pointer.POINTER} has no conflict: there is nothing to merge.")
    shown = {stage: git.run("show", f":{stage}:./{dvc_pointer.POINTER}") for stage in stages}
    return {stage: output.text or "" for stage, output in shown.items()}


def _listing(stage: int, blob: str) -> Files:
    """Return the files of a version of data/, fetched if it must be."""
    try:
        (out,) = yaml.safe_load(blob)["outs"]
        md5 = str(out["md5"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(
            f"data.dvc of {_NAMES[stage]} is not readable. `git checkout --theirs data.dvc`, or --ours."
        ) from None
    if (known := dvc_pointer.files_of(md5)) is None:
        _dvc_fetch(blob)
        known = dvc_pointer.files_of(md5)
    if known is None:
        raise UserError(
            f"the data/ of {_NAMES[stage]} is neither in DVC's cache nor in its remote. Whoever made it has to "
            "`dvc push`."
        )
    return known


def _fetch(cache: Path, blobs: Mapping[int, str], needed: set[str]) -> None:
    """Fetch the objects that DVC's cache lacks."""
    if all(dvc_pointer.object_path(cache, md5).exists() for md5 in needed):
        return
    for blob in blobs.values():
        _dvc_fetch(blob)
    lacking = sum(not dvc_pointer.object_path(cache, md5).exists() for md5 in needed)
    if lacking:
        raise UserError(
            f"{lacking} files of the other branch's data/ are neither in DVC's cache nor in its remote. Whoever made "
            "them has to `dvc push`."
        )


def _dvc_fetch(blob: str) -> None:
    """Let DVC fetch the version of data/ that a data.dvc names."""
    before = dvc_pointer.POINTER.read_bytes()
    try:
        dvc_pointer.POINTER.write_text(blob, encoding="utf-8")
        dvc_pointer.dvc("fetch", "--quiet", str(dvc_pointer.POINTER))
    finally:
        dvc_pointer.POINTER.write_bytes(before)


def _cache() -> Path:
    cache = dvc_pointer.cache_folder()
    if cache is None:
        raise UserError("DVC does not tell where its cache is: `dvc cache dir` fails.")
    return cache


def _is_here(path: str, md5: str, ours: Files) -> bool:
    return ours.get(path) == md5 and (paths.DATA / path).exists()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic(target) as temporary:
        shutil.copyfile(source, temporary)


def _merged_rows(cache: Path, name: str, base: Files, ours: Files, theirs: Files) -> tuple[bytes, int]:
    """Return the merged file, and how many of its rows this branch did not have.

    This branch's rows are those of the working tree, as people may have decided something since.
    """
    before, mine, other = (
        dvc_pointer.object_path(cache, side[name]) if name in side else None for side in (base, ours, theirs)
    )
    here = paths.DATA / name
    return merge_files(f"data/{name}", ROW_FILES[name], before, here if here.exists() else mine, other)
