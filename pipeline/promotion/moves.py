"""What a promotion and a rollback share: checks of the options, and the entry in the ledger."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError
from pipeline.promotion import gates
from pipeline.registry import ledger, state
from pipeline.registry.ledger_entries import Draft, Entry, Ledger
from pipeline.registry.state import State
from pipeline.tracking import server

if TYPE_CHECKING:
    from pipeline.params.root import Params

_MOST_CHARACTERS = 5000  # MLflow holds 100,000 in an entry


def check_options(reason: str, overrides: Collection[str] = (), test_change: str = "") -> None:
    """Check the options of a promotion or rollback, before any request to the registry.

    Raises:
        UserError: the reason is empty, a text is too long or not UTF-8, or an override names no gate.

    """
    if not reason.strip():
        raise UserError("--reason is empty. Say why: `nsfw history` shows it.")
    for option, text in (("--reason", reason), ("--test-change", test_change)):
        if len(text) > _MOST_CHARACTERS or not _is_text(text):
            raise UserError(
                f"{option} has more than {_MOST_CHARACTERS:,} characters, or is not UTF-8. Say it in some sentences."
            )
    unknown = sorted(set(overrides) - set(gates.NAMES))
    if unknown:
        raise UserError(f"--override {', '.join(unknown)}: no such gate. Gates: {', '.join(gates.NAMES)}.")


def _is_text(text: str) -> bool:
    """Whether a text can be stored: an argument that is not UTF-8 arrives with surrogates in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def enter(params: Params, known: Ledger, draft: Draft) -> Entry | None:
    """Append the draft to the ledger and move the alias; return the entry, or None if it did not take effect."""
    model = params.register_.model
    with server.session() as client:
        entry = ledger.append(client, model, draft, known)
        synced = ledger.sync_alias(client, model, params.register_.production)
        # Compared by id: a request that was sent twice, because the first answer was lost, has two numbers.
        own = [each for each in synced.effective if each.id == entry.id]
        if own:
            return own[0]
        ledger.mark_void(client, model, entry)
        return None


def sync_alias(params: Params) -> State:
    """Move the production alias to the version that the ledger names; return the registry's state after that."""
    with server.session() as client:
        ledger.sync_alias(client, params.register_.model, params.register_.production)
        return state.read(client, params.register_)
