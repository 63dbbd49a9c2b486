"""What was in production, when, by whom and why, with what is wrong now told first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.promotion import state
from pipeline.promotion.state import State
from pipeline.tracking import server
from pipeline.tracking.ledger import Entry

if TYPE_CHECKING:
    from pipeline.params import Params


@dataclass(frozen=True)
class History:
    """The state of the registry, to be shown."""

    now: State

    def to_document(self) -> dict[str, Any]:
        """Return it for JSON."""
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
        }

    def lines(self) -> list[str]:
        """Return it for a terminal, the latest entry first."""
        now = self.now
        lines = [f"WARNING: {finding}" for finding in now.findings()]
        where = "nothing yet" if now.production is None else f"version {now.production}"
        lines.append(f"{now.model}: {where} in production; challenger: version {now.challenger or '-'}")
        effective = {entry.number for entry in now.ledger.effective}
        for entry in reversed(now.ledger.entries):
            lines += _entry(entry, took_effect=entry.number in effective)
        if not now.ledger.entries:
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


def _entry(entry: Entry, *, took_effect: bool) -> list[str]:
    draft = entry.draft
    void = "" if took_effect else "   VOID: another was faster"
    move = f"{draft.previous or '-'} -> {draft.version}"
    lines = [f"  #{entry.number:<4} {entry.when}  {draft.act:<8} {move:<10} {entry.who}: {_plain(draft.reason)}{void}"]
    if draft.overrides:
        lines.append(f"        overridden: {', '.join(draft.overrides)}")
        by_name = {str(row["gate"]): row for row in draft.gates}
        lines += [
            f"          {name}: {_plain(str(by_name[name]['reason']))}" for name in draft.overrides if name in by_name
        ]
    if draft.test_change:
        lines.append(f"        test set changed: {_plain(draft.test_change)}")
    return lines


def _plain(text: str) -> str:
    """Return text without control characters: a reason in the registry may be anybody's."""
    return "".join(char if char.isprintable() else " " for char in text)[:300]
