import io
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.params.root import load_params
from pipeline.reports import inbox, limits, receiving
from tests.support.pictures import draw, encode
from tests.support.public_reports import SECRET, changed_params, inbox_bytes, photo, send, stored, submission


@pytest.fixture
def params(project):
    return load_params()


def test_a_report_is_stored_with_what_the_model_said_and_the_picture_by_consent(params):
    with_picture = send(params)
    without = send(params, photo(2), consent=False)
    first, second = {report.id: report for report in stored()}.values()
    assert {first.id, second.id} == {with_picture, without}
    first, second = sorted((first, second), key=lambda report: not report.picture)
    assert (first.model, first.version, first.answer, first.decision) == ("nsfw", "4", "porn", "unsafe")
    assert (first.expected_label, first.comment, first.state, first.count) == ("neutral", "my drawing", "new", 1)
    assert (second.picture, second.picture_sha256, len(second.hashes)) == ("", "", 24 * 32)
    assert [path.name for path in inbox.PICTURES.iterdir()] == [first.picture]
    assert "192.0.2" not in first.source


def test_exif_and_gps_are_never_stored_and_the_picture_is_upright(params):
    data = photo(size=(64, 48), orientation=6)
    send(params, data)
    (file,) = inbox.PICTURES.iterdir()
    with Image.open(io.BytesIO(data)) as sent, Image.open(file) as image:
        assert sent.getexif().get_ifd(0x8825)
        assert (image.format, image.size, image.mode) == ("PNG", (48, 64), "RGB")
        assert (dict(image.getexif()), image.info) == ({}, {})
        upright = np.asarray(sent.transpose(Image.Transpose.ROTATE_270).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(image), upright)
    written = inbox_bytes()
    for trace in (SECRET, b"Exif", b"eXIf", b"iTXt", b"tEXt", b"GPS", data[:64]):
        assert trace not in written


def test_what_follows_the_pixels_of_a_png_is_dropped_too(params):
    data = encode(draw(np.random.default_rng(3), (64, 48)), "PNG") + b"hidden after the end"
    send(params, data)
    assert b"hidden after" not in inbox_bytes()


def test_the_inbox_is_the_owners_alone(params):
    send(params)
    for path in (paths.INBOX, *paths.INBOX.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_thousand_reports_from_one_address_change_nothing_but_a_counter(params):
    for number in range(params.reports.burst):
        send(params, photo(number))
    with inbox.connect() as database:
        before = "\n".join(line for line in database.iterdump() if "counters" not in line)
    files = sorted(path.name for path in inbox.PICTURES.iterdir())
    one = submission(photo(99))
    for _ in range(1000):
        assert receiving.receive(one, "192.0.2.7", params).status == "refused"
    with inbox.connect() as database:
        assert "\n".join(line for line in database.iterdump() if "counters" not in line) == before
        assert inbox.counters(database) == {"refused": 1000}
    assert sorted(path.name for path in inbox.PICTURES.iterdir()) == files
    assert receiving.receive(one, "192.0.2.8", params).status == "new"


def test_one_source_reports_a_picture_once(project):
    params = changed_params(burst=50)
    for expected in ("new", *["repeated"] * 9):
        assert receiving.receive(submission(), "192.0.2.7", params).status == expected
    (report,) = stored()
    assert report.count == 10
    with inbox.connect() as database:
        assert inbox.counters(database) == {"repeated": 9}
    assert receiving.receive(submission(), "192.0.2.8", params).status == "new"


def test_two_requests_at_once_make_one_report(project):
    params = changed_params(burst=50)
    with ThreadPoolExecutor(4) as threads:
        receipts = list(threads.map(lambda _: receiving.receive(submission(), "192.0.2.7", params), range(8)))
    assert sorted(receipt.status for receipt in receipts) == ["new", *["repeated"] * 7]
    (report,) = stored()
    assert report.count == 8
    assert [path.name for path in inbox.PICTURES.iterdir()] == [report.picture]


def test_tokens_come_back_with_time(params, monkeypatch):
    clock = [1_000_000.0]
    monkeypatch.setattr(limits.time, "time", lambda: clock[0])
    own = params.reports
    with inbox.connect() as database:
        assert [limits.take(database, "s", own) for _ in range(own.burst + 1)] == [True] * own.burst + [False]
        clock[0] += 3600.0 / own.per_hour
        assert [limits.take(database, "s", own) for _ in range(2)] == [True, False]
        clock[0] += 1e6
        assert [limits.take(database, "s", own) for _ in range(own.burst + 1)] == [True] * own.burst + [False]


def test_a_source_is_known_for_a_day_and_a_network_of_ipv6_is_one_client(params, monkeypatch):
    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2099, 1, 2, tzinfo=UTC)

    with inbox.connect() as database:
        one = limits.source_of(database, "192.0.2.7")
        assert one == limits.source_of(database, "::ffff:192.0.2.7") != limits.source_of(database, "192.0.2.8")
        assert limits.source_of(database, "2001:db8::1") == limits.source_of(database, "2001:db8::ffff:2")
        assert limits.source_of(database, "2001:db8::1") != limits.source_of(database, "2001:db8:0:1::1")
        assert limits.take(database, one, params.reports)
        salts = database.execute("SELECT salt FROM salts").fetchall()
        monkeypatch.setattr(limits, "datetime", Tomorrow)
        assert limits.source_of(database, "192.0.2.7") != one
        assert len(salts) == len(database.execute("SELECT salt FROM salts").fetchall()) == 1
        assert database.execute("SELECT count(*) FROM buckets").fetchone()[0] == 0


def test_a_full_inbox_takes_no_more(project):
    params = changed_params(open_reports=1)
    send(params)
    assert receiving.receive(submission(photo(2)), "192.0.2.9", params).status == "full"
    params = changed_params(open_reports=10, pictures_mb=0.001)
    assert receiving.receive(submission(photo(2)), "192.0.2.9", params).status == "full"
    assert receiving.receive(submission(photo(2), consent=False), "192.0.2.9", params).status == "new"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expected_label": "cats"}, "must be one of drawings"),
        ({"comment": "x" * 1001}, "has 1001 characters; it may have 1000"),
        ({"sha256": "0" * 64}, "not the one that was classified"),
    ],
)
def test_what_cannot_be_taken_is_named_and_nothing_stored(params, changes, message):
    with pytest.raises(UserError, match=message):
        receiving.receive(submission(**changes), "192.0.2.7", params)
    assert not paths.INBOX.exists()


def test_a_picture_that_does_not_decode_leaves_no_row(params):
    sent = submission()
    broken = submission(photo(), picture=photo()[:300], sha256=inbox_sha(photo()[:300]))
    with pytest.raises(UserError, match="cannot be stored: "):
        receiving.receive(broken, "192.0.2.7", params)
    assert (stored(), list(inbox.PICTURES.iterdir())) == ([], [])
    assert receiving.receive(sent, "192.0.2.7", params).status == "new"


def inbox_sha(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_control_characters_of_a_comment_are_spaces(params):
    send(params, comment="a\x1b[31mb\r\nc\u202e")
    assert stored()[0].comment == "a [31mb  c"


def test_a_database_that_is_none_is_named(params):
    paths.INBOX.mkdir()
    inbox.DATABASE.write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"inbox/reports\.sqlite cannot be used"):
        send(params)
