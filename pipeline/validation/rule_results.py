"""The results of rules, as text for a terminal and as a document for the metrics."""

from collections.abc import Sequence
from typing import Any

from pipeline.validation.suites import Outcome


def describe(outcomes: Sequence[Outcome]) -> str:
    """Describe broken rules: the observed value, the limit, the rows concerned and the way out."""
    lines = []
    for outcome in outcomes:
        check = outcome.check
        limit = "" if check.limit is None else f", limit {check.limit:g}"
        observed = f"{outcome.unexpected} row(s)" if check.limit is None else f"observed {outcome.observed:g}"
        lines.append(f"  {outcome.suite}.{check.rule} ({check.promise}): {observed}{limit}")
        lines += [f"    {row}" for row in outcome.listed()]
        lines.append(f"    -> {check.way_out}")
    return "\n".join(lines)


def document(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Return each rule's result, ready for JSON: by suite, then by rule."""
    rules: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        rules.setdefault(outcome.suite, {})[outcome.check.rule] = {
            "success": outcome.success,
            "severity": outcome.check.severity,
            "observed": outcome.observed,
            "limit": outcome.check.limit,
            "rows": outcome.unexpected,
        }
    return rules
