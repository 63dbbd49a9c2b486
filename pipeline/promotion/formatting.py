"""Text for a terminal: the gate table, and text that somebody else wrote."""

from collections.abc import Sequence

from pipeline.promotion.gate_table import STATUSES, Gate, failed_gates, format_rows
from pipeline.registry import descriptions


def gate_lines(table: Sequence[Gate]) -> list[str]:
    """Return the table's lines after a summary line; failures come first."""
    if not table:
        return ["gates: not judged, as MLflow did not answer; `nsfw gates` judges"]
    failed = failed_gates(table)
    head = f"gates: {len(failed)} of {len(table)} failed: {', '.join(failed)}" if failed else "gates: none failed"
    ordered = sorted(table, key=lambda gate: STATUSES.index(gate.status))
    unjudged = descriptions.unjudged([gate.to_document() for gate in table])
    return ["; ".join([head, *unjudged]), *(f"  {line}" for line in format_rows(ordered))]


def plain(text: str, most: int = 300) -> str:
    """Return text without control characters, cut to `most` characters: anybody may have written it.

    Escape sequences, line breaks that would imitate a line of output, and direction marks become spaces.
    """
    return "".join(char if char.isprintable() else " " for char in text)[:most]
