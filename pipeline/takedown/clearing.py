"""Deletes what data/ and the caches hold of contents that are recorded as taken down."""

from pipeline.core import paths
from pipeline.data import removal, removed_contents
from pipeline.data.escalations import is_escalated
from pipeline.images import thumbnails
from pipeline.takedown import leftovers


def clear(sha256: set[str]) -> None:
    """Delete these contents from the shards, with every other one that is recorded, and what caches hold of them."""
    removal.purge()
    leftovers.delete_catalog_cache(sha256)
    thumbnails.erase(sha256)


def clear_escalated() -> None:
    """Delete what is left of contents that a screen matched, in this ingest or an earlier one."""
    rows = removed_contents.load(paths.SIGHTINGS)
    clear(set(rows.loc[rows["reason"].map(is_escalated).astype(bool), "sha256"]))
