"""Lists where copies of a removed picture remain: DVC's cache, its remotes, git, and derived files."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import pandas as pd

from pipeline.core import git, paths, tables
from pipeline.core.errors import UserError
from pipeline.data import dvc_pointer, shards

# Outputs of stages that hold something of a picture's pixels, more than hashes.
_DERIVED = {
    paths.PACKED: "pixels at training size",
    paths.FINGERPRINTS: "a grey thumbnail of a few px, hashes",
    paths.EMBEDDINGS: "features of a network",
    paths.DUPLICATES_REPORT: "previews of 96 px",
    paths.REPORTS_DIR / "errors.html": "previews of 96 px of test pictures",
    paths.INBOX: "public reports that nobody has accepted yet, some with their picture (`nsfw reports list`)",
}
_OTHER_COPIES = {
    paths.EMBEDDINGS_CACHE: "features of a network, by a digest",
    paths.RUNS: "run records; augmentation.png of each shows a few train pictures of safe labels",
    Path("mlartifacts"): "MLflow's copy of those records; pages/ of a version: previews of test pictures, 96 px",
    Path("mlruns"): "MLflow's copy of those records",
    Path(".dvc/tmp/exps"): "copies of the project that `dvc exp` runs in",
    Path("exported"): "exported models",
}
_SHOWN = 8


def delete_catalog_cache(sha256: set[str]) -> int:
    """Delete the catalog's cached results of shards that held these contents; return how many were deleted."""
    count = 0
    for path in sorted(paths.CATALOG_CACHE.glob("*.parquet")):
        try:
            held = set(tables.read_parquet(path, ["sha256"])["sha256"])
        except UserError:
            held = sha256  # damaged: its contents are unknown, and the cache can be made again
        if held & sha256:
            path.unlink()
            count += 1
    return count


def collect(sha256: set[str]) -> dict[str, Any]:
    """Return what is left of these contents in this project, and where else copies may be.

    Keys: `cache`: objects of DVC's cache that hold the bytes, as paths; `objects`: the same as names in a remote;
    `unknown`: versions of data/ in git's history whose list, or shards, DVC's cache lacks; `remotes` (name, url,
    in_git: its files are tracked by git, held: objects in it, null if it was not searched); `derived` and `kept`:
    paths with what they hold; `people`: rows about them in data/*.csv.
    """
    cache = dvc_pointer.cache_folder()
    holding, unknown = _objects(cache, sha256) if cache else ([], [])
    return {
        "cache": [str(path) for path in holding],
        "objects": [f"files/md5/{path.parent.name}/{path.name}" for path in holding],
        "unknown": unknown,
        "remotes": [_remote(name, url, holding) for name, url in _remotes()],
        "derived": {str(path): what for path, what in _DERIVED.items() if path.exists()},
        "kept": {str(path): what for path, what in _OTHER_COPIES.items() if path.exists()},
        "people": {path.name: _rows(path, sha256) for path in (paths.DECISIONS, paths.REPORTS, paths.SLICES)},
    }


def _objects(cache: Path, sha256: set[str]) -> tuple[list[Path], list[str]]:
    """Return the cached shards, of any version of data/, that hold one of these; and versions that are not known."""
    named: dict[str, set[str]] = {path.parent.name + path.name: set() for path in cache.glob("??/*.dir")}
    unknown = [f"data.dvc {md5}" for md5 in _history() if md5 not in named]
    for md5 in named:
        listed = dvc_pointer.listing(cache, md5) or {}
        named[md5] = {of for name, of in listed.items() if name.startswith("shards/") and name.endswith(".tar")}
    holding = []
    for md5 in sorted(set().union(*named.values()) if named else ()):
        path = dvc_pointer.object_path(cache, md5)
        try:
            if any(member.sha256 in sha256 for member in shards.list_members(path)):
                holding.append(path)
        except UserError:
            unknown.append(f"shard {md5}: damaged in the cache")
        except FileNotFoundError:
            unknown.append(f"shard {md5}")
    return holding, unknown


def _history() -> list[str]:
    """Return the md5 of every version of data/ in git's history, of all branches."""
    log = git.run("log", "--all", "--format=", "-p", "--", str(dvc_pointer.POINTER), seconds=None).text or ""
    return sorted(set(re.findall(r"^[+-]- md5: ([0-9a-f]{32}\.dir)$", log, re.MULTILINE)))


def _remotes() -> list[tuple[str, str]]:
    done = dvc_pointer.dvc("config", "--list")  # `dvc remote list` breaks long lines
    return re.findall(r"^remote\.(.+)\.url=(.*)$", done.stdout if done.returncode == 0 else "", re.MULTILINE)


def _remote(name: str, url: str, holding: Iterable[Path]) -> dict[str, Any]:
    folder = Path(url) if "://" not in url else None
    shown = re.sub(r"//[^/@]*@", "//***@", url)
    if folder is None:
        return {"name": name, "url": shown, "held": None, "in_git": False}
    copies = (folder / "files" / "md5" / path.parent.name / path.name for path in holding)
    held = [str(path) for path in copies if path.exists()]
    return {"name": name, "url": shown, "held": held, "in_git": bool(held) and bool(git.run("ls-files", url).text)}


def _rows(path: Path, sha256: set[str]) -> int:
    if not path.exists():
        return 0
    rows: pd.DataFrame = tables.read_csv(path, ["sha256"])
    return int(rows["sha256"].str.lower().isin(sha256).sum())


def describe(report: dict[str, Any]) -> list[str]:
    """Return the report of `collect` for a terminal, with how to delete each copy."""
    lines = ["what is left of it, and how to clear that:"]
    lines += _cache_lines(report["cache"], report["unknown"])
    for remote in report["remotes"]:
        lines += _remote_lines(remote, report["objects"])
    if report["derived"]:
        made = "; ".join(f"{path} ({what})" for path, what in report["derived"].items())
        lines += [f"  made of it, until `dvc repro` makes them anew: {made}"]
    lines.append(
        "  earlier copies of those, in DVC's cache: after `dvc repro` and a commit, `dvc gc --workspace`; "
        "mind that it deletes all that this workspace does not use: other branches' and older data and models too"
    )
    lines += [f"  {path}: {what}; delete what you need not" for path, what in report["kept"].items()]
    for name, count in report["people"].items():
        lines += [f"  data/{name}: {count} rows name its sha256 (no bytes); they have no effect any more"] * (count > 0)
    return [*lines, "  outside this project: the folder that it was ingested from, other clones, backups"]


def _cache_lines(cache: Sequence[str], unknown: Sequence[str]) -> list[str]:
    if not cache:
        lines = ["  DVC's cache: no shard of an earlier version holds it"]
    else:
        lines = [f"  DVC's cache: {len(cache)} shards of earlier versions of data/, which then cannot be checked out:"]
        lines += _some([f"    rm -f {quote(path)}" for path in cache])
    if unknown:
        lines += [
            f"  cannot tell of {len(unknown)} that DVC's cache lacks (`dvc fetch --all-commits data.dvc` gets them):"
        ]
        lines += _some([f"    {text}" for text in unknown])
    return lines


def _remote_lines(remote: dict[str, Any], objects: Sequence[str]) -> list[str]:
    head = f"  remote {remote['name']} ({remote['url']})"
    if remote["held"] == []:
        return [f"{head}: does not hold it"]
    if remote["held"] is None:
        lines = [f"{head}: not looked into; delete there, if pushed:", *_some([f"    {name}" for name in objects])]
        return lines if objects else [f"{head}: not looked into"]
    lines = [f"{head}: {len(remote['held'])} shards:", *_some([f"    rm -f {quote(path)}" for path in remote["held"]])]
    if remote["in_git"]:
        lines.append("    tracked by git, so that its history holds them too: `git filter-repo` rewrites it")
    return lines


def _some(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"    and {len(lines) - _SHOWN} more: see --json"]
