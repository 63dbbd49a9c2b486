"""Selects the pictures that `nsfw data remove` takes down, by hash, origin or source."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.core.errors import UserError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAMED = 10


@dataclass(frozen=True)
class Selector:
    """Selects contents by sha256 (any number), or by the origin (exact, or a pattern with `*`) and source of a file."""

    sha256: tuple[str, ...] = ()
    origin: str | None = None
    source: str | None = None

    def __str__(self) -> str:
        """Return the selector as command line options."""
        named = [f"--sha256 {sha256}" for sha256 in self.sha256]
        named += [f"--origin {self.origin}"] if self.origin is not None else []
        return " ".join(named + ([f"--source {self.source}"] if self.source is not None else []))


def select(seen: pd.DataFrame, selector: Selector) -> pd.DataFrame:
    """Return every sighting of the selected contents, also sightings that the selector does not name.

    Raises:
        UserError: nothing is selected, or a sha256 was never seen.

    """
    known = seen[seen["sha256"].notna()]
    chosen = _by_sha256(known, selector.sha256) if selector.sha256 else _by_origin(known, selector)
    return known[known["sha256"].isin(chosen)].sort_values(["sha256", "source", "origin"], ignore_index=True)


def _by_sha256(known: pd.DataFrame, given: Sequence[str]) -> set[str]:
    wanted = [sha256.strip().lower() for sha256 in given]
    for sha256 in wanted:
        if not _SHA256.fullmatch(sha256):
            raise UserError(f"--sha256 {sha256!r} is not 64 hexadecimal digits. Nothing was removed.")
    if strangers := sorted(set(wanted) - set(known["sha256"])):
        raise UserError(f"no file with sha256 {', '.join(strangers[:_NAMED])} was ever seen. Nothing was removed.")
    return set(wanted)


def _by_origin(known: pd.DataFrame, selector: Selector) -> set[str]:
    rows = known
    if selector.source is not None:
        rows = rows[rows["source"] == selector.source]
        if rows.empty:
            names = ", ".join(sorted(known["source"].unique()))
            raise UserError(f"data/ holds no source {selector.source!r}, but: {names}. Nothing was removed.")
    if selector.origin is not None:
        exact = rows["origin"] == selector.origin
        pattern = re.compile(fnmatch.translate(selector.origin))
        rows = rows[exact if exact.any() else rows["origin"].map(lambda origin: bool(pattern.match(origin)))]
        if rows.empty:
            raise UserError(
                f"no file was seen at {selector.origin!r}. An origin is the path below the ingested folder, "
                "neutral/a.jpg, or a pattern of it, '*/a.jpg'. Nothing was removed."
            )
    return set(rows["sha256"])
