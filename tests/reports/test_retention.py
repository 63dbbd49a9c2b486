from datetime import UTC, datetime, timedelta

import pytest

from pipeline.core.errors import UserError
from pipeline.reports import inbox, retention, triage
from tests.support.public_reports import changed_params, inbox_bytes, photo, send, stored


@pytest.fixture
def params(project):
    return changed_params(burst=50)


def age(identity: str, days: float) -> None:
    moment = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    with inbox.connect() as database:
        inbox.change(database, identity, created_at=moment)


def test_after_the_purge_no_byte_of_it_is_in_the_inbox(params, nsfw):
    comment = "a comment that must not stay " * 20
    doomed = send(params, photo(1), comment=comment)
    stays = send(params, photo(2), comment="this one stays")
    report = next(each for each in stored() if each.id == doomed)
    pixels = (inbox.PICTURES / report.picture).read_bytes()
    secrets = [comment[:40].encode(), doomed.encode(), report.sha256.encode(), report.hashes[:32], pixels[100:200]]
    secrets += [report.source.encode(), report.picture.encode()]
    assert all(secret in inbox_bytes() for secret in secrets[:5])
    age(doomed, 31)
    source_of_both = report.source
    code, out, _ = nsfw("reports", "purge")
    assert (code, out) == (0, "deleted 1 reports and 1 pictures, older than 30 days\n")
    written = inbox_bytes()
    for secret in secrets:
        assert (secret in written) == (secret.decode("latin-1") == source_of_both), secret
    assert b"this one stays" in written
    assert [each.id for each in stored()] == [stays]
    assert len(list(inbox.PICTURES.iterdir())) == 1


@pytest.mark.parametrize("state", ["rejected", "escalated", "merged"])
def test_whatever_was_not_accepted_goes(params, state):
    one = send(params)
    with inbox.connect() as database:
        triage.close(database, stored_one(database, one), state)
    age(one, 30.1)
    assert retention.purge(params.reports).reports == 1
    assert stored() == []


def stored_one(database, identity):
    return inbox.find(database, identity)


def test_an_accepted_one_loses_what_is_no_longer_needed(params):
    one, other = send(params, comment="words of a person"), send(params, photo(1), "192.0.2.9", comment="more words")
    with inbox.connect() as database:
        for identity in (one, other):
            triage.close(database, inbox.find(database, identity), inbox.ACCEPTED, ticket="T-1", case_sha256="a" * 64)
    for identity in (one, other):
        age(identity, 40)
    assert retention.purge(params.reports).accepted == 2
    rows = stored()
    assert {(row.comment, row.hashes, row.ticket, row.version) for row in rows} == {("", b"", "T-1", "4")}
    assert b"words" not in inbox_bytes()
    assert retention.purge(params.reports).accepted == 0


def test_a_picture_that_no_row_names_is_deleted_once_it_is_old(params, monkeypatch):
    send(params)
    (inbox.PICTURES / "left-by-a-kill.png").write_bytes(b"half")
    assert retention.purge(params.reports).pictures == 0
    monkeypatch.setattr(retention, "_ORPHAN_SECONDS", -1.0)
    assert retention.purge(params.reports).pictures == 1
    assert len(list(inbox.PICTURES.iterdir())) == 1


def test_without_an_inbox_there_is_nothing_to_do(params):
    assert retention.purge(params.reports) == retention.Purged()


def test_days_left_count_down(params):
    one = send(params)
    for days, left in ((0, 30), (0.5, 30), (1.5, 29), (29.5, 1), (31, 0)):
        age(one, days)
        assert retention.days_left(stored()[0], params.reports) == left


def test_a_database_that_another_process_holds_is_told(params, monkeypatch):
    send(params)
    holding = inbox.open_database()
    holding.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(inbox, "_BUSY_SECONDS", 0.1)
    with pytest.raises(UserError, match="If another command holds it"):
        retention.purge(params.reports)
    holding.close()
    assert retention.purge(params.reports).reports == 0
