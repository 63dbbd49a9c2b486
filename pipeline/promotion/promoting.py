"""Moving production: forward through the gates, and back to what it was.

A move is one entry in the ledger. Killed before it, nothing has happened; killed after it, the move is made, and the
alias follows with the next command. In between there is nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.promotion import agreement, gates, judging
from pipeline.promotion.gates import Gate
from pipeline.registry import ledger, state
from pipeline.registry.evidence_store import Dossier, DoubtfulError, UnfetchedError
from pipeline.registry.ledger_entries import Draft, Entry, Ledger
from pipeline.registry.package import SHA_TAG
from pipeline.registry.state import State
from pipeline.tracking import server

if TYPE_CHECKING:
    from pipeline.params.root import Params

_WORDS = 5000  # characters; MLflow holds 100,000 in an entry
_ROUNDS = 10  # that a promoter goes on against ever new winners


@dataclass(frozen=True)
class Outcome:
    """What a command did: `entry` is None where the gates refused; `lost` counts the races that it came late to."""

    model: str
    version: int
    previous: int | None
    table: Sequence[Gate] = ()
    entry: Entry | None = None
    overrides: Sequence[str] = ()
    lost: int = 0
    findings: Sequence[str] = field(default=())
    unfetched: str = ""  # which evidence could not be had, and why: not the version's fault, and nothing to override

    @property
    def failed(self) -> list[str]:
        """The gates that stood in the way."""
        return [name for name in gates.failed(self.table) if name not in self.overrides]

    def to_document(self) -> dict[str, Any]:
        """Return the outcome for JSON."""
        return {
            "model": self.model,
            "version": self.version,
            "previous": self.previous,
            "done": self.entry is not None,
            "entry": None if self.entry is None else self.entry.number,
            "failed": self.failed,
            "overrides": list(self.overrides),
            "lost_races": self.lost,
            "gates": [gate.to_document() for gate in self.table],
            "findings": list(self.findings),
            "unfetched": self.unfetched,
        }


def judge(
    params: Params, asked: str | None = None, *, test_change: str = "", rescore: judging.Rescore | None = None
) -> Outcome:
    """Return the gate table of a version (the challenger if not said) against production, and move nothing.

    Raises:
        UserError: there is no such version.
        Unreachable: the server does not answer.

    """
    now, version, challenger, production = _look(params, asked)
    table = judging.table(
        challenger,
        production,
        params,
        production_version=_rival(now, version),
        test_change=test_change,
        rescore=rescore,
    )
    unfetched = judging.unfetched(challenger, production)
    return Outcome(now.model, version, now.production, table, findings=now.findings(), unfetched=unfetched)


def promote(
    params: Params,
    asked: str | None,
    *,
    reason: str,
    overrides: Collection[str] = (),
    test_change: str = "",
    rescore: judging.Rescore | None = None,
) -> Outcome:
    """Make a version (the challenger if not said) production, if it passes the gates against whoever is there now.

    Somebody who promotes at the same time and is faster changes what it must be better than: it is judged again.

    Raises:
        UserError: there is no such version, it is in production already, or an override names no gate.
        Unreachable: the server does not answer.

    """
    check(reason, overrides, test_change)
    for lost in range(_ROUNDS):
        now, version, challenger, production = _look(params, asked)
        if version == now.production:
            left = _settle(params).findings()
            mended = "".join(
                f"\n{'WARNING' if finding in left else 'put right'}: {finding}" for finding in now.findings()
            )
            raise UserError(
                f"version {version} of {now.model} is in production already. `nsfw history` says since when.{mended}"
            )
        table = judging.table(
            challenger,
            production,
            params,
            production_version=now.production,
            test_change=test_change,
            rescore=rescore,
        )
        unfetched = judging.unfetched(challenger, production)
        blind = isinstance(challenger, UnfetchedError)  # nothing is known of what would be overridden
        used = [] if blind else [name for name in gates.failed(table) if name in overrides]
        outcome = Outcome(now.model, version, now.production, table, None, used, lost, now.findings(), unfetched)
        if outcome.failed:
            return outcome
        entry = _enter(
            params, now.ledger, _draft(version, now.production, reason, challenger, table, used, test_change)
        )
        if entry is not None:
            return Outcome(now.model, version, now.production, table, entry, used, lost, now.findings())
        asked = str(version)  # not whoever is the challenger by now
    raise UserError(f"{_ROUNDS} other promotions were faster, one after the other. See `nsfw history`, then try again.")


def rollback(params: Params, to: str | None, *, reason: str) -> Outcome:
    """Put back what was in production before, or an earlier one: without gates, for they cost time that is not there.

    Raises:
        UserError: there is nothing to go back to, or the version was changed or deleted since it was in production.
        Unreachable: the server does not answer.

    """
    check(reason)
    for lost in range(_ROUNDS):
        with server.session() as client:
            now = state.read(client, params.register_)
            version = _back(now, to, params)
            entry_then = _entry_of(now.ledger, version)
            tags = client.get_model_version(now.model, str(version)).tags
        if tags.get(SHA_TAG, "") != entry_then.draft.model_sha256:
            raise UserError(
                f"version {version} is not the model that was in production: its tag {SHA_TAG} is "
                f"{tags.get(SHA_TAG)!r}, not {entry_then.draft.model_sha256!r}. Name another with --to."
            )
        draft = Draft(
            "rollback",
            version,
            now.production,
            reason,
            entry_then.draft.model_sha256,
            entry_then.draft.evidence_sha256,
        )
        entry = _enter(params, now.ledger, draft)
        if entry is not None:
            return Outcome(now.model, version, now.production, (), entry, (), lost, now.findings())
        if to is None:  # "the one before" is another by now: two that take back the same would go two steps back
            raise UserError(
                f"somebody else moved production away from version {now.production} at this very moment; nothing was "
                "rolled back. See `nsfw history`, then say where to: --to VERSION."
            )
    raise UserError(f"{_ROUNDS} other moves were faster, one after the other. See `nsfw history`, then try again.")


def _look(
    params: Params, asked: str | None
) -> tuple[State, int, Dossier | DoubtfulError | None, Dossier | DoubtfulError | None]:
    with server.session() as client:
        agreement.check(client, params.register_, asked)
        now = state.read(client, params.register_)
        version = state.resolve(now, asked or params.register_.alias, params.register_)
        challenger = judging.dossier(client, now.model, version)
        production = judging.dossier(client, now.model, _rival(now, version))
    return now, version, challenger, production


def _rival(now: State, version: int) -> int | None:
    """Return what a version must compare with: production, but not itself."""
    return None if now.production == version else now.production


def check(reason: str, overrides: Collection[str] = (), test_change: str = "") -> None:
    """Check what the promoter says, before anything is asked of the registry.

    Raises:
        UserError: there is no reason, it is too long or no text, or an override names no gate.

    """
    if not reason.strip():
        raise UserError("--reason is empty. Say why, for whoever reads `nsfw history`.")
    for option, words in (("--reason", reason), ("--test-change", test_change)):
        if len(words) > _WORDS or not _is_text(words):
            raise UserError(f"{option} has more than {_WORDS:,} characters, or is not UTF-8. Say it in some sentences.")
    strangers = sorted(set(overrides) - set(gates.NAMES))
    if strangers:
        raise UserError(f"--override {', '.join(strangers)}: no such gate. Gates: {', '.join(gates.NAMES)}.")


def _is_text(words: str) -> bool:
    """Whether it can be stored: an argument that is not UTF-8 arrives with surrogates in it."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True


def _draft(
    version: int,
    previous: int | None,
    reason: str,
    challenger: Dossier | DoubtfulError | None,
    table: Sequence[Gate],
    used: Sequence[str],
    test_change: str,
) -> Draft:
    known = challenger if isinstance(challenger, Dossier) else None
    return Draft(
        "promote",
        version,
        previous,
        reason,
        known.model_sha256 if known else "",
        known.sha256 if known else "",
        tuple(gate.to_document() for gate in table),
        tuple(used),
        test_change,
    )


def _enter(params: Params, known: Ledger, draft: Draft) -> Entry | None:
    """Enter the draft; return the entry if it took effect. The alias then follows."""
    model = params.register_.model
    with server.session() as client:
        entry = ledger.append(client, model, draft, known)
        settled = ledger.settle(client, model, params.register_.production)
        # By its id: a request that was sent twice, as the answer was lost, has two numbers.
        taken = [each for each in settled.effective if each.id == entry.id]
        if taken:
            return taken[0]
        ledger.mark_void(client, model, entry)
        return None


def _settle(params: Params) -> State:
    with server.session() as client:
        ledger.settle(client, params.register_.model, params.register_.production)
        return state.read(client, params.register_)


def _back(now: State, to: str | None, params: Params) -> int:
    if now.production is None:
        raise UserError(f"nothing of {now.model} was ever in production. `nsfw promote` is the way there.")
    if to is None:
        before = now.ledger.before(now.production)
        if before is None:
            raise UserError(f"nothing was in production before version {now.production}. Name a version with --to.")
    else:
        before = state.resolve(now, to, params.register_)
    if before not in now.versions:
        raise UserError(f"version {before} has been deleted from the registry. Name another with --to.")
    if before == now.production and now.aliased == before and not now.ledger.broken:
        raise UserError(f"version {before} is in production already.")
    return before


def _entry_of(known: Ledger, version: int) -> Entry:
    found = [entry for entry in known.effective if entry.draft.version == version]
    if not found:
        raise UserError(f"version {version} was never in production: `nsfw promote {version}` judges it first.")
    return found[-1]
