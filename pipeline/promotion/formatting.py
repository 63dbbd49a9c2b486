"""What a terminal shows: the gate table, and text that somebody else wrote."""

from collections.abc import Sequence

from pipeline.promotion import gates
from pipeline.promotion.gates import Gate


def gate_lines(table: Sequence[Gate]) -> list[str]:
    """Return the table with a line that sums it up; failures come first."""
    if not table:
        return ["gates: not judged, as MLflow did not answer; `nsfw gates` judges"]
    failed = gates.failed(table)
    head = f"gates: {len(failed)} of {len(table)} failed: {', '.join(failed)}" if failed else "gates: none failed"
    ordered = sorted(table, key=lambda gate: gates.STATUSES.index(gate.status))
    return [head, *(f"  {line}" for line in gates.rows(ordered))]


def plain(text: str, most: int = 300) -> str:
    """Return text without control characters, cut to `most`: a reason in the registry may be anybody's.

    Escape sequences, line breaks that would fake a line of ours, and marks that turn the direction become spaces.
    """
    return "".join(char if char.isprintable() else " " for char in text)[:most]
