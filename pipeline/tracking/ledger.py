"""The ledger of production: who put which version there, when and why. Append-only, in the registry itself.

An MLflow alias is set without compare-and-swap, and says nothing of who set it. So the truth is a second registered
model, `<model>-ledger`, of which each version is an entry: the store numbers versions uniquely, in one transaction,
tags included. An entry names the last one that it knew of (`expects`, with its digest). It takes effect if that is
still the last effective one: of two promoters at once the lower number wins, and every reader finds the same winner
without a lock. The alias follows the ledger; where the two differ, somebody went past it.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pipeline.tracking import descriptions

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENTRY_TAG = "nsfw.entry"
_VOID_TAG = "nsfw.void"
_SETTLE_ROUNDS = 20

Act = Literal["promote", "rollback"]


@dataclass(frozen=True)
class Draft:
    """What is to be entered: `version` becomes production in place of `previous` (None: there was none).

    `gates` is the table that the act stood on, `overrides` the failed gates that were passed all the same.
    """

    act: Act
    version: int
    previous: int | None
    reason: str
    model_sha256: str
    evidence_sha256: str
    gates: Sequence[Mapping[str, Any]] = ()
    overrides: Sequence[str] = ()
    test_change: str = ""


@dataclass(frozen=True)
class Entry:
    """One entry, as it stands in the registry; `number` 0 stands for the beginning of the ledger."""

    number: int
    id: str
    expects: int
    expects_sha256: str
    who: str
    when: str
    draft: Draft

    def document(self) -> dict[str, Any]:
        """Return all but the number, which the registry gives."""
        return {name: value for name, value in asdict(self).items() if name != "number"}

    @property
    def sha256(self) -> str:
        """What a later entry holds this one by: changing an entry unhinges all that follow."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Ledger:
    """All entries in order; `effective` are those that took effect, `unreadable` the numbers that hold no entry."""

    entries: tuple[Entry, ...] = ()
    unreadable: tuple[int, ...] = ()
    effective: tuple[Entry, ...] = field(default=())

    @property
    def last(self) -> Entry | None:
        """The entry that made production what it is."""
        return self.effective[-1] if self.effective else None

    @property
    def production(self) -> int | None:
        """The version in production."""
        return self.last.draft.version if self.last else None

    def before(self, version: int) -> int | None:
        """Return what was in production before `version` was last promoted."""
        found = [entry for entry in self.effective if entry.draft.act == "promote" and entry.draft.version == version]
        return found[-1].draft.previous if found else None


def name_of(model: str) -> str:
    """Return the registered model that holds the ledger of `model`."""
    return f"{model}-ledger"


def fold(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the entries that took effect: each knew the last effective one before it, unchanged."""
    effective: list[Entry] = []
    seen: set[str] = set()
    for entry in sorted(entries, key=lambda entry: entry.number):
        last = (effective[-1].number, effective[-1].sha256) if effective else (0, "")
        if (entry.expects, entry.expects_sha256) == last and entry.id not in seen:
            effective.append(entry)
        seen.add(entry.id)  # a request that was sent twice is one entry
    return tuple(effective)


def read(client: MlflowClient, model: str) -> Ledger:
    """Return the ledger of `model`, empty where there is none yet."""
    entries, unreadable = [], []
    for found in versions_of(client, name_of(model)):
        number = int(found.version)
        try:
            entries.append(_parse(number, found.tags[ENTRY_TAG]))
        except (KeyError, TypeError, ValueError):
            unreadable.append(number)
    return Ledger(tuple(sorted(entries, key=lambda entry: entry.number)), tuple(sorted(unreadable)), fold(entries))


def append(client: MlflowClient, model: str, draft: Draft, known: Ledger) -> Entry:
    """Enter `draft`, decided in the knowledge of `known`. Whether it took effect the ledger tells, read again."""
    expects = (known.last.number, known.last.sha256) if known.last else (0, "")
    entry = Entry(0, secrets.token_hex(8), *expects, _who(), datetime.now(UTC).isoformat(timespec="seconds"), draft)
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
    return _parse(int(created.version), created.tags[ENTRY_TAG])


def mark_void(client: MlflowClient, model: str, entry: Entry) -> None:
    """Show readers of MLflow's UI that an entry came too late. The fold alone decides."""
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
    raise RuntimeError(f"the alias {alias} of {model} does not stay where the ledger says: somebody else moves it")


def aliased(client: MlflowClient, model: str, alias: str) -> int | None:
    """Return the version that an alias points at, or None."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_registered_model(model).aliases.get(alias)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return None if found is None else int(found)


def versions_of(client: MlflowClient, name: str) -> list[Any]:
    """Return every version of a registered model."""
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=200, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _parse(number: int, text: str) -> Entry:
    document = json.loads(text)
    draft = document.pop("draft")
    draft |= {"gates": tuple(draft["gates"]), "overrides": tuple(draft["overrides"])}
    return Entry(number=number, draft=Draft(**draft), **document)


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
