"""The gate table for a terminal."""

from collections.abc import Sequence

from pipeline.evaluation import gates
from pipeline.evaluation.gates import Gate


def gate_lines(table: Sequence[Gate]) -> list[str]:
    """Return the table with a line that sums it up; failures come first."""
    if not table:
        return ["gates: not judged, as MLflow did not answer; `nsfw gates` judges"]
    failed = gates.failed(table)
    head = f"gates: {len(failed)} of {len(table)} failed: {', '.join(failed)}" if failed else "gates: none failed"
    ordered = sorted(table, key=lambda gate: ("fail", "pass", "n/a").index(gate.status))
    return [head, *(f"  {line}" for line in gates.rows(ordered))]
