import json
import threading

import pytest

from pipeline.core.errors import UserError
from pipeline.registry import ledger
from pipeline.registry.ledger import ENTRY_TAG
from pipeline.registry.ledger_entries import Draft, Entry, Ledger

pytestmark = pytest.mark.untraced


def draft(version: int = 1, previous: int | None = None, **more) -> Draft:
    made = {"reason": "r", "model_sha256": "a" * 64, "evidence_sha256": "b" * 64}
    return Draft("promote", version, previous, **made | more)


@pytest.fixture
def registered(client):
    """`nsfw` with three versions."""
    client.create_registered_model("nsfw")
    for number in range(3):
        client.create_model_version("nsfw", f"s3://bucket/{number}")
    return client


def act(client, version: int, **more) -> Entry:
    """Promote a version, from the current state of the ledger."""
    known = ledger.read(client, "nsfw")
    return ledger.append(client, "nsfw", draft(version, known.production, **more), known)


def test_what_is_appended_is_read_back_as_it_was(registered):
    made = act(
        registered,
        2,
        reason="zażółć \N{SNOWMAN} \x1b[31m",
        gates=({"gate": "g", "status": "pass", "reason": "", "value": 0.25, "limit": None, "test": ""},),
    )
    current = ledger.read(registered, "nsfw")
    assert current.entries == current.effective == (made,)
    assert (current.last, current.production, current.unreadable, current.broken) == (made, 2, (), False)
    entry_version = registered.get_model_version("nsfw-ledger", "1")
    assert entry_version.tags["nsfw.to"] == "2"
    assert "zażółć \N{SNOWMAN}" in entry_version.description
    assert "\x1b" not in entry_version.description


def test_no_ledger_is_an_empty_one(client):
    assert ledger.read(client, "nsfw") == Ledger()
    assert not Ledger().broken


def test_of_two_that_knew_the_same_the_first_wins_and_the_second_is_void(registered):
    known = ledger.read(registered, "nsfw")
    first = ledger.append(registered, "nsfw", draft(1), known)
    late = ledger.append(registered, "nsfw", draft(2), known)
    ledger.mark_void(registered, "nsfw", late)
    current = ledger.read(registered, "nsfw")
    assert (current.effective, current.entries, current.production) == ((first,), (first, late), 1)
    assert not current.broken


FOREIGN = [
    {},
    {ENTRY_TAG: "rubbish"},
    {ENTRY_TAG: '"a text"'},
    {ENTRY_TAG: "7"},
    {ENTRY_TAG: "[]"},
    {ENTRY_TAG: "{}"},
    {ENTRY_TAG: "[" * 90_000},
]


@pytest.mark.parametrize("tags", FOREIGN)
def test_a_version_that_is_no_entry_counts_for_nothing(registered, tags):
    first = act(registered, 1)
    registered.create_model_version("nsfw-ledger", "s3://bucket/x", tags=tags)
    second = act(registered, 2)
    current = ledger.read(registered, "nsfw")
    assert (current.effective, current.unreadable, current.production) == ((first, second), (2,), 2)
    assert not current.broken


WRONG = {"version": "2", "previous": "1", "reason": 5, "act": "delete", "model_sha256": None, "gates": [5]}


@pytest.mark.parametrize(("field", "value"), WRONG.items())
def test_an_entry_with_a_field_of_another_type_counts_for_nothing(registered, field, value):
    made = act(registered, 1)
    document = made.document() | {"id": "x", "expects": 1, "expects_sha256": made.sha256, "seen": 1}
    sound = json.loads(json.dumps(document))
    registered.create_model_version("nsfw-ledger", "s3://b/x", tags={ENTRY_TAG: json.dumps(sound)})
    assert len(ledger.read(registered, "nsfw").effective) == 2  # by the shape alone it would count
    sound["draft"][field] = value
    registered.set_model_version_tag("nsfw-ledger", "2", ENTRY_TAG, json.dumps(sound))
    current = ledger.read(registered, "nsfw")
    assert (current.effective, current.unreadable) == ((made,), (2,))


def test_altered_or_deleted_in_the_registry(registered):
    made = [act(registered, number) for number in (1, 2, 3)]
    document = json.loads(registered.get_model_version("nsfw-ledger", "2").tags[ENTRY_TAG])
    document["draft"]["version"] = 1
    registered.set_model_version_tag("nsfw-ledger", "2", ENTRY_TAG, json.dumps(document))
    current = ledger.read(registered, "nsfw")
    assert (current.production, current.invalidated, current.missing, current.broken) == (1, (3,), (), True)
    registered.delete_model_version("nsfw-ledger", "2")
    current = ledger.read(registered, "nsfw")
    assert (current.effective, current.invalidated, current.missing, current.broken) == ((made[0],), (3,), (2,), True)
    assert current.highest == 3
    registered.delete_model_version("nsfw-ledger", "3")
    current = ledger.read(registered, "nsfw")
    assert (current.production, current.invalidated, current.missing, current.broken) == (1, (), (2, 3), True)
    assert act(registered, 2).number == 4  # the store gives no number twice
    current = ledger.read(registered, "nsfw")
    assert (current.production, current.missing, current.broken) == (2, (2, 3), False)


def test_more_entries_than_a_page_while_others_append(registered, monkeypatch):
    monkeypatch.setattr(ledger, "_PAGE", 2)
    made = [act(registered, 1 + number % 3) for number in range(5)]
    search, late = type(registered).search_model_versions, []

    def between(self, filter_string, **named):
        page = search(self, filter_string, **named)
        if not late:
            late.append(ledger.Ledger())
            late.append(act(registered, 3))
        return page

    with monkeypatch.context() as patch:
        patch.setattr(type(registered), "search_model_versions", between)
        current = ledger.read(registered, "nsfw")
    assert current.entries == current.effective == (*made, late[1])


@pytest.mark.rare  # MLflow takes a tenth of a second for an entry
@pytest.mark.slow
def test_more_than_two_hundred_entries(registered):
    for number in range(205):
        act(registered, 1 + number % 3)
    current = ledger.read(registered, "nsfw")
    assert [each.number for each in current.effective] == list(range(1, 206))
    assert not current.broken


def test_settle_sets_the_alias_and_leaves_an_empty_ledger_alone(registered):
    registered.set_registered_model_alias("nsfw", "production", "3")
    ledger.sync_alias(registered, "nsfw", "production")
    assert ledger.alias_version(registered, "nsfw", "production") == 3
    act(registered, 1)
    assert ledger.sync_alias(registered, "nsfw", "production").production == 1
    assert ledger.alias_version(registered, "nsfw", "production") == 1
    assert ledger.alias_version(registered, "nsfw", "none") is None
    assert ledger.alias_version(registered, "nobody", "production") is None


class Meddling:
    """A client that lets somebody else act before it first moves an alias."""

    def __init__(self, client, *before):
        self._client, self._before = client, list(before)

    def __getattr__(self, name):
        return getattr(self._client, name)

    def set_registered_model_alias(self, *arguments):
        if self._before:
            self._before.pop(0)()
        self._client.set_registered_model_alias(*arguments)


def test_settle_looks_again_after_it_wrote_what_it_read_earlier(registered):
    act(registered, 1)

    def other():
        act(registered, 2)
        ledger.sync_alias(registered, "nsfw", "production")
        assert ledger.alias_version(registered, "nsfw", "production") == 2

    assert ledger.sync_alias(Meddling(registered, other), "nsfw", "production").production == 2
    assert ledger.alias_version(registered, "nsfw", "production") == 2


def test_an_alias_that_somebody_moves_all_the_time_is_told(registered, monkeypatch):
    act(registered, 1)

    def back(*_):
        registered.set_registered_model_alias("nsfw", "production", "3")

    class Fought(Meddling):
        def set_registered_model_alias(self, *arguments):
            back()

    with pytest.raises(UserError, match=r"does not stay where the ledger says \(version 1\)"):
        ledger.sync_alias(Fought(registered), "nsfw", "production")


def test_threads_that_append_at_once_get_numbers_of_their_own(registered, store):
    import mlflow

    known = ledger.read(registered, "nsfw")
    act(registered, 1)  # makes the ledger
    barrier = threading.Barrier(4)

    def enter(version):
        client = mlflow.MlflowClient(f"sqlite:///{store}")
        barrier.wait(timeout=30)
        for _ in range(3):
            ledger.append(client, "nsfw", draft(version), known)

    threads = [threading.Thread(target=enter, args=(1 + number % 3,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    current = ledger.read(registered, "nsfw")
    assert [each.number for each in current.entries] == list(range(1, 14))
    assert [each.number for each in current.effective] == [1]
    assert not current.broken
