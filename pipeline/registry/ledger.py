"""The ledger of production: who put which version there, when and why. Append-only, in the registry itself.

An MLflow alias is set without compare-and-swap, and says nothing of who set it. So the truth is a second registered
model, `<model>-ledger`, of which each version is an entry: the store numbers versions uniquely, in one transaction,
tags included. Which entries took effect, the entries themselves tell (`tracking.entries`), so that every reader finds
the same without a lock. The alias follows the ledger; where the two differ, somebody went past it.
"""

from __future__ import annotations

import getpass
import json
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.registry import descriptions
from pipeline.registry.ledger_entries import Draft, Entry, Ledger, build, parse
from pipeline.tracking.absent import or_none

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ENTRY_TAG", "Draft", "Entry", "Ledger", "aliased", "append", "mark_void", "name_of", "read", "settle"]

ENTRY_TAG = "nsfw.entry"
_VOID_TAG = "nsfw.void"
_COUNT_TAG = "nsfw.entries"
_SETTLE_ROUNDS = 20
_PAGE = 200
_DIGITS = 7  # of a count; more would be nobody's ledger


def name_of(model: str) -> str:
    """Return the registered model that holds the ledger of `model`."""
    return f"{model}-ledger"


def read(client: MlflowClient, model: str) -> Ledger:
    """Return the ledger of `model`, empty where there is none yet."""
    entries, unreadable = [], []
    counted = _counted(client, model)  # first: who counts has entered
    for found in versions_of(client, name_of(model)):
        entry = parse(int(found.version), found.tags.get(ENTRY_TAG, ""))
        if entry is None:
            unreadable.append(int(found.version))
        else:
            entries.append(entry)
    return build(entries, unreadable, counted)


def append(client: MlflowClient, model: str, draft: Draft, known: Ledger) -> Entry:
    """Enter `draft`, decided in the knowledge of `known`. Whether it took effect the ledger tells, read again."""
    expects = (known.last.number, known.last.sha256) if known.last else (0, "")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = Entry(0, secrets.token_hex(8), *expects, known.highest, _who(), now, draft)
    _make_ledger(client, model)
    tags = {"nsfw.act": draft.act, "nsfw.from": str(draft.previous), "nsfw.to": str(draft.version)}
    tags |= {"nsfw.who": entry.who, "nsfw.reason": draft.reason[:1000], "nsfw.overrides": ",".join(draft.overrides)}
    created = client.create_model_version(
        name_of(model),
        f"models:/{model}/{draft.version}",
        run_id=client.get_model_version(model, str(draft.version)).run_id,
        tags=tags | {ENTRY_TAG: json.dumps(entry.document(), sort_keys=True)},
        description=descriptions.entry(
            f"{draft.act}: {model} version {draft.previous or '-'} -> {draft.version}, by {entry.who}",
            draft.reason,
            draft.gates,
            draft.overrides,
        ),
    )
    number = int(created.version)
    if number > _counted(client, model):
        # The store gives no number twice, so a gap tells of a deletion; without this not at the end.
        client.set_registered_model_tag(name_of(model), _COUNT_TAG, str(number))
    return replace(entry, number=number)


def mark_void(client: MlflowClient, model: str, entry: Entry) -> None:
    """Show readers of MLflow's UI that an entry came too late. The entries alone decide."""
    client.set_model_version_tag(name_of(model), str(entry.number), _VOID_TAG, "true")


def settle(client: MlflowClient, model: str, alias: str) -> Ledger:
    """Point the alias at what the ledger says, until both agree; return the ledger.

    Two that settle at once may overwrite each other with what they read earlier: each looks again after it wrote.
    """
    for _ in range(_SETTLE_ROUNDS):
        ledger = read(client, model)
        if ledger.production is None or aliased(client, model, alias) == ledger.production:
            return ledger
        client.set_registered_model_alias(model, alias, str(ledger.production))
    raise UserError(
        f"the alias {alias} of {model} does not stay where the ledger says (version {ledger.production}): somebody "
        "else moves it. Find out who, then run this again."
    )


def aliased(client: MlflowClient, model: str, alias: str) -> int | None:
    """Return the version that an alias points at, or None."""
    registered = or_none(lambda: client.get_registered_model(model))
    number = registered.aliases.get(alias) if registered else None
    return None if number is None else int(number)


def versions_of(client: MlflowClient, name: str) -> list[Any]:
    """Return every version of a registered model."""
    found: list[Any] = []
    token = None
    while True:
        # In an order that nothing changes: pages are cut by their offsets, and a row that moved would be on none.
        page = client.search_model_versions(
            f"name = '{name}'", max_results=_PAGE, order_by=["version_number ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _counted(client: MlflowClient, model: str) -> int:
    """Return the highest number that an entry was given, as far as it was counted; 0 without a ledger."""
    registered = or_none(lambda: client.get_registered_model(name_of(model)))
    count = str(registered.tags.get(_COUNT_TAG, "0")) if registered else "0"
    return int(count) if count.isdecimal() and len(count) < _DIGITS else 0


def _make_ledger(client: MlflowClient, model: str) -> None:
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):  # it is there already; anything else shows when the entry is made
        client.create_registered_model(
            name_of(model),
            description=f"What was production of {model}, when and why: an entry a version. Written by `nsfw promote` "
            "and `nsfw rollback` alone; read it with `nsfw history`.",
        )


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, in a container
        return "unknown"
