"""Descriptions of versions and ledger entries on MLflow's pages, in Markdown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_ORDER = ("fail", "pass", "n/a")


def figures(evidence: Mapping[str, float]) -> str:
    """Return test figures as a Markdown table."""
    rows = "\n".join(f"| {_cell(name)} | {value:.4g} |" for name, value in evidence.items())
    return f"On the test set:\n\n| figure | value |\n| --- | --- |\n{rows}\n"


def facts(named: Mapping[str, str]) -> str:
    """Return facts by name as a Markdown list."""
    return "\n".join(f"- {_cell(name)}: {_cell(value)}" for name, value in named.items()) + "\n"


def verdict(table: Sequence[Mapping[str, Any]]) -> str:
    """Return the result of a gate table in a few words, for a tag."""
    failed = [str(row["gate"]) for row in table if row["status"] == "fail"]
    head = f"failed: {', '.join(failed)}" if failed else ("none failed" if table else "not judged")
    return "; ".join([head, *unjudged(table)])


def unjudged(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which gates were not judged, or on a part of the classes, as models have other labels; and why."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for row in table:
        if row.get("unjudged"):
            extent = "not judged" if row["status"] == "n/a" else "judged in part"
            by_reason.setdefault((extent, str(row["unjudged"])), []).append(str(row["gate"]))
    return [f"{extent}: {', '.join(gates)} ({reason})" for (extent, reason), gates in by_reason.items()]


def gates(table: Sequence[Mapping[str, Any]]) -> str:
    """Return a gate table as Markdown, failures first; "" if it is empty."""
    if not table:
        return ""
    failed = [str(row["gate"]) for row in table if row["status"] == "fail"]
    head = f"**Gates: {len(failed)} of {len(table)} failed**" if failed else "**Gates: none failed**"
    head = "\n\n".join([head, *map(_cell, unjudged(table))])
    ordered = sorted(table, key=lambda row: _ORDER.index(row["status"]))
    rows = "\n".join(
        f"| {_cell(row['gate'])} | {row['status']} | {_number(row['value'])} | {_limit(row)} | {_cell(row['reason'])} |"
        for row in ordered
    )
    return f"{head}\n\n| gate | | value | wanted | |\n| --- | --- | --- | --- | --- |\n{rows}\n"


def entry(move: str, reason: str, table: Sequence[Mapping[str, Any]], overrides: Sequence[str]) -> str:
    """Return the description of a ledger entry: the move, the reason, the overridden gates and the gate table."""
    over = f"\n\nOverridden: {', '.join(map(_cell, overrides))}" if overrides else ""
    return f"{_cell(move)}: {_cell(reason)}{over}\n\n{gates(table)}"


def _cell(text: object) -> str:
    """Return text escaped for a Markdown cell: reasons contain names of slices and batches, which anyone may choose."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!~])", r"\\\1", line)[:500]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _limit(row: Mapping[str, Any]) -> str:
    return "" if row["limit"] is None else f"{row['test']} {row['limit']:.4g}".strip()
