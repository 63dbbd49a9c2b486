import pytest

from pipeline.core.errors import UserError
from pipeline.registry import state
from pipeline.registry.ledger_entries import Draft, Entry, Ledger, build
from pipeline.registry.state import State


def chain(*versions: int) -> list[Entry]:
    """Entries that made these versions production, one after the other."""
    entries: list[Entry] = []
    for version in versions:
        now = build(entries)
        knows = (now.last.number, now.last.sha256) if now.last else (0, "")
        draft = Draft("promote", version, now.production, "r", "a" * 64, "b" * 64)
        entries.append(Entry(now.highest + 1, f"id{now.highest}", *knows, now.highest, "me", "2026-01-01", draft))
    return entries


def at(ledger: Ledger, aliased: int | None, versions=(1, 2, 3), bare=()) -> State:
    aliases = {"challenger": 3, "old": 2}
    return State("nsfw", "production", ledger, aliased, 3, aliases, tuple(versions), tuple(bare))


def test_nothing_is_found_where_ledger_and_alias_agree():
    assert at(build(chain(1, 2)), 2).findings() == []
    assert at(Ledger(), None).findings() == []


@pytest.mark.parametrize(
    ("now", "parts"),
    [
        (at(Ledger(), 2, bare=[2]), ["WENT PAST THE GATES", "version 2, but nothing was ever promoted", "no evidence"]),
        (at(build(chain(1, 2)), 3), ["WENT PAST THE GATES", "version 3, but the ledger says version 2", "--to 2"]),
        (at(build(chain(1, 2, 3)), 1), ["WENT PAST THE GATES", "version 1, but the ledger says version 3"]),
        (at(build(chain(1, 2)), 1), ["still points at version 1, the ledger says 2", "nsfw promote 2 --reason"]),
        (at(build(chain(1)), None), ["the alias production is gone", "version 1", "nsfw promote 1 --reason"]),
        (at(build(chain(1, 2)), None, versions=[1, 3]), ["version 2, which is production, has been deleted"]),
        (at(build(chain(1), unreadable=[2]), 1), ["nsfw-ledger holds version 2, which no command of ours wrote"]),
    ],
)
def test_each_disagreement_is_told_once_with_a_way_out(now, parts):
    (finding,) = now.findings()
    assert all(part in finding for part in parts), finding
    assert "`nsfw" in finding or "counts for nothing" in finding


@pytest.mark.parametrize(
    ("ledger", "parts"),
    [
        (build([chain(1, 2, 3)[index] for index in (0, 2)]), ["entry 2 deleted", "entry 3 no longer in effect"]),
        (build(chain(1, 2), counted=4), ["entries 3, 4 deleted", "production is version 2"]),
        (build(chain(1), unreadable=[2], counted=2), ["entry 2 damaged"]),
        (build([], counted=2), ["entries 1, 2 deleted", "nothing was ever promoted"]),
        (build([], counted=30), ["entries 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 20 more deleted"]),
    ],
)
def test_a_broken_ledger_is_told_first_and_loudest(ledger, parts):
    now = at(ledger, 3)
    assert now.findings()[0].startswith("THE LEDGER IS BROKEN")
    assert all(part in now.findings()[0] for part in parts), now.findings()[0]
    assert "Decide anew: `nsfw promote VERSION --reason ...`" in now.findings()[0]


def test_a_broken_ledger_is_not_taken_for_a_command_that_was_cut_short():
    """1 -> 2 -> 1, and the last entry deleted: the alias stands at 1, where it stood before the entry that is left."""
    left = build(chain(1, 2, 1)[:2], counted=3)
    assert not at(left, 1).interrupted
    assert at(build(chain(1, 2)), 1).interrupted


@pytest.mark.parametrize(("requested", "number"), [("2", 2), ("production", 1), ("challenger", 3), ("old", 2)])
def test_a_version_by_number_or_alias(params, requested, number):
    assert state.resolve(at(build(chain(1)), 2), requested, params.register_) == number


@pytest.mark.parametrize("requested", ["4", "0", "-1", "latest", "", "1.0", "9" * 5000])
def test_a_version_that_is_not_there(params, requested):
    with pytest.raises(UserError, match="there are: 1, 2, 3, challenger, old, production"):
        state.resolve(at(build(chain(1)), 1), requested, params.register_)


def test_production_is_no_version_before_there_is_one(params):
    with pytest.raises(UserError, match="so nothing is production"):
        state.resolve(at(Ledger(), None), "production", params.register_)


class Moving:
    """A client for which production is promoted by somebody else between the aliases and the ledger."""

    def __init__(self, client, acts):
        self._client, self._acts = client, acts

    def __getattr__(self, name):
        return getattr(self._client, name)

    def get_registered_model(self, name):
        registered = self._client.get_registered_model(name)
        if self._acts and name == "nsfw":
            self._acts.pop(0)()
        return registered


def test_who_reads_while_others_promote_is_not_alarmed(makes, params, client):
    from pipeline.promotion import promoting

    for _ in range(3):
        makes.version()
    promoting.promote(params, "1", reason="r")

    def twice():
        promoting.promote(params, "2", reason="r")
        promoting.promote(params, "3", reason="r")

    now = state.read(Moving(client, [twice]), params.register_)
    assert (now.production, now.aliased, now.findings()) == (3, 3, [])


def test_read_tells_versions_and_which_have_no_evidence(makes, params, client):
    makes.version()
    makes.version(with_evidence=False)
    now = state.read(client, params.register_)
    assert (now.versions, now.without_evidence, now.challenger, now.production) == ((1, 2), (2,), 2, None)
