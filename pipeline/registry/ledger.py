"""The ledger of production: who put which version there, when and why. Append-only, in the registry itself.

An MLflow alias is set without compare-and-swap, and does not record who set it. So the record is a second registered
model, `<model>-ledger`, each of whose versions is an entry: the store numbers versions uniquely, in one transaction
with their tags. Which entries took effect follows from the entries alone (`ledger_entries`), so every reader comes to
the same result without a lock. The alias follows the ledger; if the two differ, somebody has bypassed it.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.core.users import user_name
from pipeline.registry import descriptions
from pipeline.registry.ledger_entries import Draft, Entry, Ledger, build, parse
from pipeline.tracking.absent import or_none

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "ENTRY_TAG",
    "Draft",
    "Entry",
    "Ledger",
    "alias_version",
    "append",
    "mark_void",
    "name_of",
    "read",
    "sync_alias",
]

ENTRY_TAG = "nsfw.entry"
_LEDGER_TAG = "nsfw.ledger"  # of the model: the name of its ledger
_VOID_TAG = "nsfw.void"
_COUNT_TAG = "nsfw.entries"
_SETTLE_ROUNDS = 20
_PAGE = 200
_DIGITS = 7  # of a count; no ledger has more entries


def name_of(model: str) -> str:
    """Return the registered model that holds the ledger of `model`."""
    return f"{model}-ledger"


def read(client: MlflowClient, model: str) -> Ledger:
    """Return the ledger of `model`, empty where there is none yet."""
    entries, unreadable = [], []
    counted = _counted(client, model)  # read first: an entry exists before it is counted
    for version in versions_of(client, name_of(model)):
        entry = parse(int(version.version), version.tags.get(ENTRY_TAG, ""))
        if entry is None:
            unreadable.append(int(version.version))
        else:
            entries.append(entry)
    return build(entries, unreadable, counted)


def append(client: MlflowClient, model: str, draft: Draft, known: Ledger) -> Entry:
    """Append `draft`, which was decided from the state `known`. Read the ledger again to see whether it took effect."""
    expects = (known.last.number, known.last.sha256) if known.last else (0, "")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = Entry(0, secrets.token_hex(8), *expects, known.highest, user_name(), now, draft)
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
        # The store gives no number twice, so a gap shows a deletion. The count shows a deletion at the end.
        client.set_registered_model_tag(name_of(model), _COUNT_TAG, str(number))
    return replace(entry, number=number)


def mark_void(client: MlflowClient, model: str, entry: Entry) -> None:
    """Mark an entry that lost a race, for readers of MLflow's UI. The tag has no effect."""
    client.set_model_version_tag(name_of(model), str(entry.number), _VOID_TAG, "true")


def sync_alias(client: MlflowClient, model: str, alias: str) -> Ledger:
    """Set the alias to the ledger's production until both agree; return the ledger.

    Two processes may overwrite each other with states that they read earlier, so each reads again after it wrote.

    Raises:
        UserError: something else keeps moving the alias.

    """
    for _ in range(_SETTLE_ROUNDS):
        ledger = read(client, model)
        if ledger.production is None or alias_version(client, model, alias) == ledger.production:
            return ledger
        client.set_registered_model_alias(model, alias, str(ledger.production))
    raise UserError(
        f"the alias {alias} of {model} does not stay where the ledger says (version {ledger.production}): somebody "
        "else moves it. Find out who, then run this again."
    )


def alias_version(client: MlflowClient, model: str, alias: str) -> int | None:
    """Return the version that an alias points at, or None."""
    registered = or_none(lambda: client.get_registered_model(model))
    number = registered.aliases.get(alias) if registered else None
    return None if number is None else int(number)


def versions_of(client: MlflowClient, name: str) -> list[Any]:
    """Return every version of a registered model."""
    versions: list[Any] = []
    token = None
    while True:
        # A stable order: pages are cut by offset, and a row that moved could be missing from all of them.
        page = client.search_model_versions(
            f"name = '{name}'", max_results=_PAGE, order_by=["version_number ASC"], page_token=token
        )
        versions += page
        token = page.token
        if not token:
            return versions


def _counted(client: MlflowClient, model: str) -> int:
    """Return the highest number of an entry that was counted; 0 without a ledger."""
    registered = or_none(lambda: client.get_registered_model(name_of(model)))
    count = str(registered.tags.get(_COUNT_TAG, "0")) if registered else "0"
    return int(count) if count.isdecimal() and len(count) < _DIGITS else 0


def _make_ledger(client: MlflowClient, model: str) -> None:
    from mlflow.exceptions import MlflowException

    if or_none(lambda: client.get_registered_model(name_of(model))) is not None:
        return
    # On a server with passwords anybody may create a model, and owns it then. Who may not change `model` is refused
    # here, before there is a ledger that would say that it is in production.
    client.set_registered_model_tag(model, _LEDGER_TAG, name_of(model))
    with suppress(MlflowException):  # another process was faster; other problems show when the entry is created
        client.create_registered_model(
            name_of(model),
            description=f"What was production of {model}, when and why: an entry a version. Written by `nsfw promote` "
            "and `nsfw rollback` alone; read it with `nsfw history`.",
        )
