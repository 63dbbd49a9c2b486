"""The current state of the registry: the ledger, the aliases, and whether the two agree."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.registry import evidence_store, ledger, lost_runs
from pipeline.registry.ledger_entries import Ledger
from pipeline.tracking import store_address
from pipeline.tracking.absent import or_none

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.params.register import Register

_LOOKS, _LOOK_SECONDS = 3, 0.1
_DIGITS = 10  # of a version; Python refuses to parse numbers of thousands of digits


@dataclass(frozen=True)
class State:
    """The ledger, where the aliases of production and challenger point, the versions, and which have no evidence."""

    model: str
    alias: str
    ledger: Ledger
    aliased: int | None
    challenger: int | None
    aliases: Mapping[str, int]
    versions: tuple[int, ...]
    without_evidence: tuple[int, ...]
    lost_runs: tuple[str, ...] = ()  # a line for each of production's and challenger's that was deleted

    @property
    def production(self) -> int | None:
        """The version in production: the ledger's."""
        return self.ledger.production

    def findings(self) -> list[str]:
        """Return the problems between ledger and registry, the worst first; [] if there are none."""
        messages = []
        if self.ledger.broken:
            messages.append(self._broken())
        if self.aliased is not None and self.aliased != self.production:
            messages.append(self._past_the_gates() if not self.interrupted else self._unfinished())
        if self.production is not None and self.production not in self.versions:
            messages.append(
                f"version {self.production}, which is production, has been deleted: "
                "`nsfw rollback --to VERSION --reason ...`, or promote another"
            )
        elif self.production is not None and self.aliased is None:
            messages.append(
                f"the alias {self.alias} is gone; the ledger says version {self.production}. {self._finish()}"
            )
        messages += self.lost_runs
        if self.ledger.unreadable:
            numbers = ", ".join(map(str, self.ledger.unreadable))
            messages.append(
                f"{ledger.name_of(self.model)} holds version {numbers}, which no command of ours wrote: "
                "it counts for nothing"
            )
        return messages

    @property
    def interrupted(self) -> bool:
        """Whether the alias is where it was before the last entry: a command was interrupted, or the alias set back."""
        last = self.ledger.last
        return last is not None and self.aliased == last.draft.previous and not self.ledger.broken

    def _broken(self) -> str:
        lost = {
            "deleted": self.ledger.missing,
            "damaged": self.ledger.damaged,
            "no longer in effect, as what came before was altered or deleted": self.ledger.invalidated,
        }
        losses = [f"{_list(numbers)} {what}" for what, numbers in lost.items() if numbers]
        says = "nothing was ever promoted" if self.production is None else f"production is version {self.production}"
        return (
            f"THE LEDGER IS BROKEN: {'; '.join(losses)}. What is left says that {says}, which may be long past. Decide "
            "anew: `nsfw promote VERSION --reason ...`"
            + (f", or `nsfw rollback --to {self.production} --reason ...` if that is right" if self.production else "")
        )

    def _finish(self) -> str:
        return f"`nsfw promote {self.production} --reason ...` sets it, as does any other promotion or rollback"

    def _past_the_gates(self) -> str:
        says = "nothing was ever promoted" if self.production is None else f"the ledger says version {self.production}"
        lacks = " It has no evidence." if self.aliased in self.without_evidence else ""
        back = f", or `nsfw rollback --to {self.production}` puts the ledger's back" if self.production else ""
        return (
            f"WENT PAST THE GATES: the alias {self.alias} points at version {self.aliased}, but {says}.{lacks} "
            f"`nsfw promote {self.aliased}` judges it{back}"
        )

    def _unfinished(self) -> str:
        return (
            f"the alias {self.alias} still points at version {self.aliased}, the ledger says {self.production}: "
            f"the last command was cut short, or the alias set back by hand. {self._finish()}"
        )


def read(client: MlflowClient, register: Register) -> State:
    """Return the state of the registry.

    A promotion on another machine sets the alias a moment after its entry, possibly between two requests of ours: if
    ledger and alias differ, they are read again before that is reported.

    Raises:
        UserError: there is no such registered model.

    """
    for _ in range(_LOOKS - 1):
        state = _read(client, register)
        if state.aliased == state.production:
            return state
        time.sleep(_LOOK_SECONDS)
    return _read(client, register)


def _read(client: MlflowClient, register: Register) -> State:
    model = register.model
    registered = or_none(lambda: client.get_registered_model(model))
    if registered is None:
        way = "`nsfw sync` registers what build/ holds" if paths.REGISTERED.is_file() else "`dvc repro` registers one"
        raise UserError(f"{store_address.store_name()} has no model {model}. {way}.")
    aliases = registered.aliases
    known = ledger.read(client, model)
    versions = ledger.versions_of(client, model)
    numbers = sorted(int(version.version) for version in versions)
    bare = sorted(int(version.version) for version in versions if evidence_store.EVIDENCE_TAG not in version.tags)
    challenger = _number(aliases.get(register.alias))
    in_use = {"production": known.production, "challenger": challenger if challenger != known.production else None}
    return State(
        model,
        register.production,
        known,
        _number(aliases.get(register.production)),
        challenger,
        {name: int(value) for name, value in aliases.items()},
        tuple(numbers),
        tuple(bare),
        tuple(lost_runs.findings(client, model, in_use)),
    )


def resolve(state: State, requested: str, register: Register) -> int:
    """Return the version that `requested` names: a number, `production` (the ledger's), or any other alias.

    Raises:
        UserError: there is no such version.

    """
    named: dict[str, int | None] = {**state.aliases, register.production: state.production}
    number = (
        named[requested]
        if requested in named
        else int(requested)
        if requested.isdecimal() and len(requested) < _DIGITS
        else None
    )
    if requested == register.production and state.production is None:
        details = "".join(f" {finding}." for finding in state.findings())
        raise UserError(f"nothing of {state.model} was ever promoted, so nothing is {requested}.{details}")
    if number is None or number not in state.versions:
        have = ", ".join([*map(str, state.versions), *sorted(named)]) or "none"
        raise UserError(f"{state.model} has no version {requested}; there are: {have}.")
    return number


def _list(numbers: tuple[int, ...]) -> str:
    return f"{'entry' if len(numbers) == 1 else 'entries'} {', '.join(map(str, numbers[:10]))}" + (
        f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    )


def _number(value: object) -> int | None:
    return None if value is None else int(str(value))
