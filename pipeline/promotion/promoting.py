"""Change production: promote a version through the gates, or roll back to an earlier one.

A change is one entry in the ledger. A process that is killed before it has changed nothing; after it, the change has
taken effect, and the next command moves the alias. There is no state in between.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError
from pipeline.promotion import agreement, judging, moves
from pipeline.promotion.gate_table import Gate, failed_gates
from pipeline.promotion.outcome import Outcome
from pipeline.promotion.pairing import Rescore
from pipeline.registry import state
from pipeline.registry.evidence_store import Evidence, EvidenceError, EvidenceUnavailableError
from pipeline.registry.ledger_entries import Draft, Entry, Ledger
from pipeline.registry.package import SHA_TAG
from pipeline.registry.state import State
from pipeline.tracking import server

if TYPE_CHECKING:
    from pipeline.params.root import Params

_ROUNDS = 10  # attempts against other promotions that were faster


def judge(
    params: Params, requested: str | None = None, *, test_change: str = "", rescore: Rescore | None = None
) -> Outcome:
    """Return the gate table of a version (default: the challenger) against production; change nothing.

    Raises:
        UserError: there is no such version.
        Unreachable: the server does not answer.

    """
    now, version, challenger, production = _read(params, requested)
    table = judging.gate_table(
        challenger,
        production,
        params,
        production_version=_rival(now, version),
        test_change=test_change,
        rescore=rescore,
    )
    unfetched = judging.unavailable_evidence(challenger, production)
    return Outcome(now.model, version, now.production, table, findings=now.findings(), unfetched=unfetched)


def promote(
    params: Params,
    requested: str | None,
    *,
    reason: str,
    overrides: Collection[str] = (),
    test_change: str = "",
    rescore: Rescore | None = None,
) -> Outcome:
    """Make a version (default: the challenger) production if it passes the gates against the current production.

    If another promotion takes effect in the meantime, the version is judged again, against the new production.

    Raises:
        UserError: there is no such version, it is in production already, or an override names no gate.
        Unreachable: the server does not answer.

    """
    moves.check_options(reason, overrides, test_change)
    for lost in range(_ROUNDS):
        now, version, challenger, production = _read(params, requested)
        if version == now.production:
            raise UserError(_already_in_production(now, params))
        table = judging.gate_table(
            challenger, production, params, production_version=now.production, test_change=test_change, rescore=rescore
        )
        unfetched = judging.unavailable_evidence(challenger, production)
        unknown = isinstance(challenger, EvidenceUnavailableError)  # so nobody knows what an override would pass
        used = [] if unknown else [name for name in failed_gates(table) if name in overrides]
        outcome = Outcome(now.model, version, now.production, table, None, used, lost, now.findings(), unfetched)
        if outcome.failed:
            return outcome
        draft = _draft(version, now.production, reason, challenger, table, used, test_change)
        entry = moves.enter(params, now.ledger, draft)
        if entry is not None:
            return Outcome(now.model, version, now.production, table, entry, used, lost, now.findings())
        requested = str(version)  # the alias may point at another version by now
    raise UserError(f"{_ROUNDS} other promotions were faster, one after the other. See `nsfw history`, then try again.")


def rollback(params: Params, to: str | None, *, reason: str) -> Outcome:
    """Restore the previous production, or the version `to`. No gates are judged: a rollback has to be fast.

    Raises:
        UserError: there is nothing to go back to, or the version was changed or deleted since it was in production.
        Unreachable: the server does not answer.

    """
    moves.check_options(reason)
    for lost in range(_ROUNDS):
        with server.session() as client:
            now = state.read(client, params.register_)
            version = _rollback_target(now, to, params)
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
        entry = moves.enter(params, now.ledger, draft)
        if entry is not None:
            return Outcome(now.model, version, now.production, (), entry, (), lost, now.findings())
        if to is None:  # "the previous one" is another version by now: a second try would go two steps back
            raise UserError(
                f"somebody else moved production away from version {now.production} at this very moment; nothing was "
                "rolled back. See `nsfw history`, then say where to: --to VERSION."
            )
    raise UserError(f"{_ROUNDS} other moves were faster, one after the other. See `nsfw history`, then try again.")


def _read(
    params: Params, requested: str | None
) -> tuple[State, int, Evidence | EvidenceError | None, Evidence | EvidenceError | None]:
    with server.session() as client:
        agreement.check(client, params.register_, requested)
        now = state.read(client, params.register_)
        version = state.resolve(now, requested or params.register_.alias, params.register_)
        challenger = judging.fetch_evidence(client, now.model, version)
        production = judging.fetch_evidence(client, now.model, _rival(now, version))
    return now, version, challenger, production


def _already_in_production(now: State, params: Params) -> str:
    """Return the message for a version that is in production; it says which findings the sync has resolved."""
    remaining = moves.sync_alias(params).findings()
    findings = [f"\n{'WARNING' if each in remaining else 'put right'}: {each}" for each in now.findings()]
    head = f"version {now.production} of {now.model} is in production already. `nsfw history` says since when."
    return head + "".join(findings)


def _rival(now: State, version: int) -> int | None:
    """Return the version to compare with: production, or None if that is the version itself."""
    return None if now.production == version else now.production


def _draft(
    version: int,
    previous: int | None,
    reason: str,
    challenger: Evidence | EvidenceError | None,
    table: Sequence[Gate],
    used: Sequence[str],
    test_change: str,
) -> Draft:
    known = challenger if isinstance(challenger, Evidence) else None
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


def _rollback_target(now: State, to: str | None, params: Params) -> int:
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
    entries = [entry for entry in known.effective if entry.draft.version == version]
    if not entries:
        raise UserError(f"version {version} was never in production: `nsfw promote {version}` judges it first.")
    return entries[-1]
