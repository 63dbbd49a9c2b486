"""The gate table: one row a gate, and how it is shown."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pass", "fail", "n/a"]
STATUSES: tuple[Status, ...] = ("fail", "pass", "n/a")  # in the order in which people read them
Test = Literal["at least", "at most", ""]


@dataclass(frozen=True)
class Gate:
    """One row of the table. `value` and `limit` are None where the gate has no number.

    `unjudged`: what it could not judge because models have other labels than the pictures have classes; "" for nothing.
    """

    gate: str
    status: Status
    value: float | None
    limit: float | None
    reason: str
    test: Test = ""
    unjudged: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return the row for JSON; `unjudged` only where there is something."""
        return {key: value for key, value in asdict(self).items() if key != "unjudged" or value}


def failed_gates(table: Sequence[Gate]) -> list[str]:
    """Return the names of the gates that failed."""
    return [gate.gate for gate in table if gate.status == "fail"]


def format_rows(table: Sequence[Gate]) -> list[str]:
    """Return the table as aligned lines for a terminal."""
    cells = [(gate.gate, gate.status, _value_text(gate), gate.reason) for gate in table]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in cells
    ]


def _value_text(gate: Gate) -> str:
    if gate.value is None:
        return ""
    sign = {"at least": ">=", "at most": "<=", "": ""}[gate.test]
    return f"{gate.value:.4g}" if gate.limit is None else f"{gate.value:.4g} (wanted {sign} {gate.limit:.4g})"
