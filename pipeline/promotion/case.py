"""What the gates judge: a challenger's evidence, and how it compares with production."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.evaluation.paired_comparison import Difference
from pipeline.evidence.document import Document


@dataclass(frozen=True)
class TestSetChange:
    """How the challenger's test set differs from production's, in pictures."""

    added: int
    removed: int
    relabelled: int

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not (self.added or self.removed or self.relabelled)

    def __str__(self) -> str:
        return f"{self.added} pictures more, {self.removed} fewer, {self.relabelled} relabelled"


@dataclass(frozen=True)
class Case:
    """What the gates judge.

    Attributes:
        evidence: the challenger's evidence document; None if there is none that can be trusted (`doubt` says why).
        facts: the challenger's facts.json: run, lineage, speed, size.
        production: the version in production, None if there is none yet.
        differences: of recall, from production to challenger, on the same pictures (`evaluation.paired_comparison`).
        incomparable: why there are no differences although there is a production.
        uncompared: which classes have no differences, and why; "" for none.
        test_sets: how the test sets differ; None without production's evidence.
        test_change: the promoter's explanation of that difference.
        wrong_reports: rows of the current data/reports.csv that the challenger gets wrong, or never saw.
        reports: the number of rows of data/reports.csv.
        reports_by_side: how many of them are of classes that the challenger has no label for.
        committed: the commit that holds the uncommitted changes of a dirty run, None if no commit does.

    """

    evidence: Document | None
    facts: Mapping[str, Any]
    doubt: str = ""
    production: int | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    incomparable: str = ""
    uncompared: str = ""
    test_sets: TestSetChange | None = None
    test_change: str = ""
    wrong_reports: Sequence[str] = ()
    reports: int = 0
    reports_by_side: int = 0
    committed: str | None = None
