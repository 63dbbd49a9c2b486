"""Takes contents out of data/ for good: it is recorded first, then the bytes are deleted from the shards.

A removal that is killed at any moment and run again ends in the same state: a content counts as removed as soon as that
is recorded, and `purge` deletes every recorded content that is still in a shard.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from pipeline.core import paths
from pipeline.core.users import user_name
from pipeline.data import completeness, removed_contents, shards
from pipeline.data.escalations import ESCALATED
from pipeline.data.sightings import status_of_removed


def record(sightings: Path, sha256: Sequence[str], reason: str, selector: str) -> list[str]:
    """Record those of `sha256` that are not recorded yet, for this kind of reason; return them."""
    status = status_of_removed(reason)
    recorded = removed_contents.load(sightings)
    same = recorded["reason"].map(status_of_removed).isin([status, ESCALATED])
    new = sorted(set(sha256) - set(recorded.loc[same, "sha256"]))
    if new:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"reason": reason, "removed_at": moment, "removed_by": user_name(), "selector": selector}
        removed_contents.record(sightings, pd.DataFrame({"sha256": new}).assign(**about))
    return new


def record_escalated(sightings: Path, reasons: Mapping[str, str], selector: str) -> None:
    """Record the contents that a screen matched, with the reason of each (`escalated: ...`), by sha256."""
    for reason in sorted(set(reasons.values())):
        record(sightings, [sha256 for sha256, its in reasons.items() if its == reason], reason, selector)


def count_by_shard(sha256: set[str]) -> dict[str, int]:
    """Return how many of these contents each shard of data/ holds, without shards that hold none."""
    held, _ = completeness.shard_contents(paths.SHARDS)
    counts = {name: len(contents & sha256) for name, contents in held.items()}
    return {name: count for name, count in counts.items() if count}


def purge() -> dict[str, int]:
    """Delete every recorded content from the shards of data/; return the number deleted by shard."""
    gone = set(removed_contents.load(paths.SIGHTINGS)["sha256"])
    counts = count_by_shard(gone)
    for name in counts:
        shards.drop(paths.SHARDS / name, gone)
    return counts
