"""The contents of an ingest that screens matched: recorded before its batch is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data import escalations, removal
from pipeline.data.escalations import Verdict


class EscalatedContents:
    """Collects the matches of one batch of a source.

    They are recorded in data/escalations.csv first, then as taken down, which is what keeps them out for good; an
    ingest that is killed in between and run again ends with the same rows.
    """

    def __init__(self, data: Path, source: str) -> None:
        self._data, self._source = data, source
        self._rows: list[dict[str, str]] = []
        self._reasons: dict[str, str] = {}

    def add(self, row: Mapping[str, Any], verdict: Verdict | None, door: str) -> None:
        """Take the sighting of a content, if its verdict is a match."""
        if verdict is not None and verdict.matches:
            self._rows += verdict.rows(origin=str(row["origin"]), source=self._source, door=door)
            self._reasons[verdict.sha256] = verdict.reason

    def record(self) -> None:
        """Write what was collected."""
        escalations.append(self._data / "escalations.csv", self._rows)
        removal.record_escalated(self._data / "sightings", self._reasons, f"--source {self._source}")
