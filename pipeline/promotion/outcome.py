"""The result of a command that judges a version, or changes production."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.promotion.gate_table import Gate, failed_gates
from pipeline.registry.ledger_entries import Entry


@dataclass(frozen=True)
class Outcome:
    """The result of a command: `entry` is None if the gates refused; `lost` counts faster promotions of others."""

    model: str
    version: int
    previous: int | None
    table: Sequence[Gate] = ()
    entry: Entry | None = None
    overrides: Sequence[str] = ()
    lost: int = 0
    findings: Sequence[str] = field(default=())
    unfetched: str = ""  # which evidence could not be fetched, and why; it cannot be overridden

    @property
    def failed(self) -> list[str]:
        """The gates that failed and were not overridden."""
        return [name for name in failed_gates(self.table) if name not in self.overrides]

    def to_document(self) -> dict[str, Any]:
        """Return the outcome for JSON."""
        return {
            "model": self.model,
            "version": self.version,
            "previous": self.previous,
            "done": self.entry is not None,
            "entry": None if self.entry is None else self.entry.number,
            "failed": self.failed,
            "overrides": list(self.overrides),
            "lost_races": self.lost,
            "gates": [gate.to_document() for gate in self.table],
            "findings": list(self.findings),
            "unfetched": self.unfetched,
        }
