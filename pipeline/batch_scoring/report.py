"""What a scoring run has done, for JSON and for a terminal."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.batch_scoring.result import Tally


@dataclass(frozen=True)
class Report:
    """The result of a run: counts of rows, how many of them an earlier run had made, and the seconds of this run.

    `contact`: whom to call where pictures are escalated.
    """

    out: Path
    model: str
    threshold: float | None
    tally: Tally
    reused: int
    seconds: float
    contact: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return it for JSON."""
        new = self.tally.rows - self.reused
        return {
            "out": str(self.out),
            "model": self.model,
            "threshold": self.threshold,
            "rows": self.tally.rows,
            "scored": self.tally.scored,
            "unreadable": dict(sorted(self.tally.unreadable.items())),
            "escalated": self.tally.escalated,
            "flagged": None if self.threshold is None else self.tally.flagged,
            "kept": self.reused,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(new / self.seconds, 2) if self.seconds else None,
        }

    def lines(self) -> list[str]:
        """Return the lines for a terminal."""
        tally = self.tally
        text = [f"{self.model}: {tally.scored} of {tally.rows} inputs scored"]
        if self.reused:
            text[0] += f" ({self.reused} rows by the run that was cut short)"
        if tally.unreadable:
            codes = ", ".join(f"{count} {code}" for code, count in sorted(tally.unreadable.items()))
            text.append(f"unreadable: {tally.unreadable.total()} ({codes}); each has its row, with the reason")
        if tally.escalated:
            text.append(f"ESCALATED: {tally.escalated} match a list, and were not scored; their rows say which")
            text.append(f"CALL {self.contact}. Do not open, copy or send these files")
        if self.threshold is None:
            text.append(
                "decided: nothing; this version was registered without a threshold. `dvc repro -f register` (or `nsfw "
                "import-model`) registers it with the one of its evidence"
            )
        else:
            text.append(f"unsafe: {tally.flagged} at a score of {self.threshold:.6g} or more")
        return [*text, f"wrote {self.out}"]
