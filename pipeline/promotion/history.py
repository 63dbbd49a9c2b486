"""The history of production: which version, when, by whom and why; current problems come first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.promotion.formatting import plain
from pipeline.registry import descriptions, state
from pipeline.registry.ledger_entries import Entry, Ledger
from pipeline.registry.state import State
from pipeline.tracking import server

if TYPE_CHECKING:
    from pipeline.params.root import Params


@dataclass(frozen=True)
class History:
    """The state of the registry, for display."""

    now: State

    def to_document(self) -> dict[str, Any]:
        """Return the history for JSON."""
        effective = {entry.number for entry in self.now.ledger.effective}
        return {
            "model": self.now.model,
            "production": self.now.production,
            "alias": {self.now.alias: self.now.aliased},
            "findings": self.now.findings(),
            "without_evidence": list(self.now.without_evidence),
            "entries": [
                {"number": entry.number, "took_effect": entry.number in effective, **entry.document()}
                for entry in self.now.ledger.entries
            ],
            "deleted_entries": list(self.now.ledger.missing),
            "unhinged_entries": list(self.now.ledger.invalidated),
            "unreadable_entries": list(self.now.ledger.unreadable),
        }

    def lines(self) -> list[str]:
        """Return the history as lines for a terminal, the latest entry first."""
        now = self.now
        lines = [f"WARNING: {finding}" for finding in now.findings()]
        where = "nothing yet" if now.production is None else f"version {now.production}"
        lines.append(f"{now.model}: {where} in production; challenger: version {now.challenger or '-'}")
        by_number = {number: [f"  #{number:<4} DELETED from the registry"] for number in now.ledger.missing}
        by_number |= {number: [f"  #{number:<4} unreadable: counts for nothing"] for number in now.ledger.unreadable}
        by_number |= {entry.number: _entry(entry, _void(entry, now.ledger)) for entry in now.ledger.entries}
        lines += [line for number in sorted(by_number, reverse=True) for line in by_number[number]]
        if not by_number:
            lines.append("  the ledger is empty: `nsfw promote --reason ...` makes the first entry")
        bare = ", ".join(map(str, now.without_evidence))
        if bare:
            lines.append(f"versions without evidence, registered past the pipeline: {bare}")
        return lines


def history(params: Params) -> History:
    """Return the history of the registered model.

    Raises:
        UserError: nothing is registered.
        Unreachable: the server does not answer.

    """
    with server.session() as client:
        return History(state.read(client, params.register_))


def _void(entry: Entry, ledger: Ledger) -> str:
    """Return why an entry did not take effect, "" if it did."""
    if any(each.number == entry.number for each in ledger.effective):
        return ""
    if entry.number in ledger.invalidated:
        return "   VOID: it follows an entry that was altered or deleted"
    if any(each.id == entry.id for each in ledger.effective):
        return "   VOID: sent twice"
    lost = any(
        entry.seen < number < entry.number for number in (*ledger.missing, *ledger.invalidated, *ledger.unreadable)
    )
    return "   VOID: an entry just before it is lost" if lost else "   VOID: another was faster"


def _entry(entry: Entry, void: str) -> list[str]:
    draft = entry.draft
    move = f"{draft.previous or '-'} -> {draft.version}"
    signed_reason = f"{plain(entry.who)}: {plain(draft.reason)}"
    lines = [f"  #{entry.number:<4} {plain(entry.when)}  {draft.act:<8} {move:<10} {signed_reason}{void}"]
    if draft.overrides:
        lines.append(f"        overridden: {plain(', '.join(draft.overrides))}")
        reasons = {str(row["gate"]): plain(str(row["reason"])) for row in draft.gates}
        lines += [f"          {plain(name)}: {reasons[name]}" for name in draft.overrides if name in reasons]
    lines += [f"        {plain(sentence, 1000)}" for sentence in descriptions.unjudged(draft.gates)]
    if draft.test_change:
        lines.append(f"        test set changed: {plain(draft.test_change)}")
    return lines
