"""What MLflow's pages say of a version and of a ledger's entry: Markdown, made from tables alone."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_ORDER = ("fail", "pass", "n/a")


def figures(evidence: Mapping[str, float]) -> str:
    """Return test figures as a table."""
    rows = "\n".join(f"| {_cell(name)} | {value:.4g} |" for name, value in evidence.items())
    return f"On the test set:\n\n| figure | value |\n| --- | --- |\n{rows}\n"


def facts(named: Mapping[str, str]) -> str:
    """Return named facts as a list."""
    return "\n".join(f"- {_cell(name)}: {_cell(value)}" for name, value in named.items()) + "\n"


def verdict(table: Sequence[Mapping[str, Any]]) -> str:
    """Return a gate table in a few words, for a tag."""
    failed = [str(row["gate"]) for row in table if row["status"] == "fail"]
    return f"failed: {', '.join(failed)}" if failed else ("none failed" if table else "not judged")


def gates(table: Sequence[Mapping[str, Any]]) -> str:
    """Return a gate table, failures first; "" where there is none."""
    if not table:
        return ""
    failed = [str(row["gate"]) for row in table if row["status"] == "fail"]
    head = f"**Gates: {len(failed)} of {len(table)} failed**" if failed else "**Gates: none failed**"
    ordered = sorted(table, key=lambda row: _ORDER.index(row["status"]))
    rows = "\n".join(
        f"| {_cell(row['gate'])} | {row['status']} | {_number(row['value'])} | {_limit(row)} | {_cell(row['reason'])} |"
        for row in ordered
    )
    return f"{head}\n\n| gate | | value | wanted | |\n| --- | --- | --- | --- | --- |\n{rows}\n"


def entry(move: str, reason: str, table: Sequence[Mapping[str, Any]], overrides: Sequence[str]) -> str:
    """Return what a ledger's entry says: who moved what, why, over which gates, and the table."""
    over = f"\n\nOverridden: {', '.join(map(_cell, overrides))}" if overrides else ""
    return f"{_cell(move)}: {_cell(reason)}{over}\n\n{gates(table)}"


def _cell(text: object) -> str:
    """Return text that stays text in a cell: reasons name slices and batches, whose names are strangers'."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!~])", r"\\\1", line)[:500]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _limit(row: Mapping[str, Any]) -> str:
    return "" if row["limit"] is None else f"{row['test']} {row['limit']:.4g}".strip()
