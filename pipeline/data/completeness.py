"""Whether data/ is complete: the bytes of each stored sighting in a shard, and each table that data.dvc names.

The members of shards are cached in .cache/members.parquet, and read again when a shard has changed.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.data import batch_names, dvc_pointer, shards, sightings

_COLUMNS = ("shard", "size", "modified", "sha256")
_NAMED = 5


def check(data: Path) -> list[Path]:
    """Check that `data` is complete; nothing but the cache of shard members is written.

    Returns:
        Unused shards: an earlier version of this program was killed before it wrote the sightings of their batch.

    Raises:
        UserError: a batch's sightings or stored bytes are missing; the message says how many, and what to do.

    """
    lacking = _missing_files(data)
    contents_by_shard, damaged = shard_contents(data / "shards")
    seen = sightings.load(data / "sightings")
    wanted = set(seen.loc[seen["status"] == "stored", "sha256"])
    missing = wanted - set().union(*contents_by_shard.values()) if wanted else set()
    tables_lacking = [name for name in lacking if name.startswith("sightings/")]
    if missing or damaged or tables_lacking:
        raise UserError(_message(len(missing), len(wanted), lacking, damaged))
    return [
        data / "shards" / name
        for name, members in contents_by_shard.items()
        if members.isdisjoint(wanted) and _unsighted(data, name)
    ]


def _unsighted(data: Path, shard: str) -> bool:
    batch = batch_names.batch_of_old_shard(shard)
    return batch is not None and not (data / "sightings" / f"{batch}.parquet").exists()


def shard_contents(folder: Path, cache: Path = paths.MEMBERS_CACHE) -> tuple[dict[str, set[str]], list[str]]:
    """Return the contents (sha256) of each shard by file name, and the names of shards that cannot be read."""
    known, contents_by_shard, damaged = _cached(cache), {}, []
    before = len(known)
    for shard in batch_names.shard_files(folder):
        about = shard.stat()
        key = (shard.name, about.st_size, about.st_mtime_ns)
        try:
            contents_by_shard[shard.name] = (
                known[key] if key in known else {member.sha256 for member in shards.list_members(shard)}
            )
        except UserError:
            damaged.append(shard.name)
            continue
        known[key] = contents_by_shard[shard.name]
    current = {key: members for key, members in known.items() if contents_by_shard.get(key[0]) is members}
    if len(current) != before or current.keys() != known.keys():
        _write_cache(current, cache)
    return contents_by_shard, damaged


def _cached(cache: Path) -> dict[tuple[str, int, int], set[str]]:
    try:
        rows = tables.read_parquet(cache, _COLUMNS)
    except UserError:  # no cache, or a damaged one: the headers are read again
        return {}
    known: dict[tuple[str, int, int], set[str]] = {}
    for name, size, modified, sha256 in zip(*(rows[column].tolist() for column in _COLUMNS), strict=True):
        known.setdefault((name, size, modified), set()).add(sha256)
    return known


def _write_cache(known: Mapping[tuple[str, int, int], set[str]], cache: Path) -> None:
    rows = [(*key, sha256) for key, members in sorted(known.items()) for sha256 in sorted(members)]
    tables.write_parquet(pd.DataFrame(rows, columns=list(_COLUMNS)), cache)


def _missing_files(data: Path) -> list[str]:
    """Return the shards and tables that data.dvc names and `data` lacks, if DVC's cache has the list of files."""
    pointer = dvc_pointer.read_out()
    md5 = str(pointer.get("md5", ""))
    named = dvc_pointer.files_of(md5) if md5 else None
    if named is not None:
        parts = (name for name in named if name.startswith(("shards/", "sightings/")))
        return sorted(name for name in parts if not (data / name).exists())
    files = sum(1 for path in data.rglob("*") if path.is_file())
    if files < int(pointer.get("nfiles") or 0):
        raise UserError(
            f"{data}/ holds {files} files, but data.dvc names a version of {pointer['nfiles']} that is not here. "
            f"Nothing was written. {_WAY_OUT}"
        )
    return []


def _message(missing: int, wanted: int, lacking: Sequence[str], damaged: Collection[str]) -> str:
    lines = [f"{paths.DATA}/ is not whole; nothing was written."]
    if missing:
        lines.append(f"  the bytes of {missing:,} of {wanted:,} stored pictures are in no shard that can be read")
    for kind in ("shards", "sightings"):
        names = [name.partition("/")[2] for name in lacking if name.startswith(f"{kind}/")]
        line = f"  {len(names)} files of data/{kind} that data.dvc names are not here: {_listed(names)}"
        lines += [line] if names else []
    if damaged:
        lines.append(f"  {len(damaged)} shards are cut short or damaged: {_listed(sorted(damaged))}")
    return "\n".join([*lines, _WAY_OUT])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


_WAY_OUT = (
    "Bring it back: `dvc pull data.dvc` (or, where DVC's cache has it, `dvc checkout --force data.dvc`), and run this "
    "again. `nsfw ingest ... --fresh` begins an empty data/ instead."
)
