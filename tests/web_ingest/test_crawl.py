"""The fetcher against a server on loopback that misbehaves in every way known to us."""

import asyncio
import re
import socket
import sqlite3
import sys
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import suppress
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.params.ingest import Ingest
from pipeline.web_ingest import crawl, robots
from pipeline.web_ingest.addresses import is_public
from pipeline.web_ingest.failures import RefusedError
from pipeline.web_ingest.fetching import parse_url
from pipeline.web_ingest.journal import Journal, Outcome
from tests.support.crawls import LIMITS, loopback
from tests.support.pictures import sha
from tests.support.web_server import WebServer, lookup, picture, web_server

CONNECTED: list[str] = []  # every address that this process connects to


def audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        CONNECTED.append(str(arguments[1][0]))


sys.addaudithook(audit)


@pytest.fixture
def server() -> Iterator[WebServer]:
    CONNECTED.clear()
    with web_server() as running:
        yield running
    assert set(CONNECTED) <= {"127.0.0.1"}


def fetch(tmp_path, urls: list[str], *, rule=loopback, lookup=lookup, **limits: object) -> dict[str, Outcome]:
    journal = Journal(tmp_path / "journal.db")
    left = [url for url in urls if journal.outcome(url) is None]
    changed = Ingest.model_validate(LIMITS | limits)
    crawl.fetch_all(left, journal, changed, "me@example.org", done=lambda: None, rule=rule, lookup=lookup)
    outcomes = {url: journal.outcome(url) for url in urls}
    contents = {outcome.sha256: journal.content(outcome.sha256) for outcome in outcomes.values() if outcome.sha256}
    assert all(sha(content) == sha256 for sha256, content in contents.items())
    journal.close()
    return outcomes


# Path: the reason (a pattern), and how many attempts.
REFUSED = {
    "gone/1": ("http_404", 1),
    "error": ("http_500", 3),
    "html": ("not_a_picture: text/html", 1),
    "html_as_jpeg": ("not_a_picture: an HTML page", 1),
    "empty": ("empty: .*", 1),
    "noai": ("noai: .*", 1),
    "noimageai": ("noai: .*", 1),
    "bomb": ("content_encoding: gzip.*", 1),
    "br": ("content_encoding: br.*", 1),
    "zstd": ("content_encoding: zstd.*", 1),
    "long_line": ("header_too_large: .*", 1),
    "many_lines": ("header_too_large: .*", 1),
    "endless_head": ("header_too_large: .*", 1),
    "slow_head": ("timeout: .*", 3),
    "drip": ("timeout: .*", 3),
    "endless": ("too_large: .*", 1),
    "too_large": ("too_large: .*", 1),
    "chunks_too_large": ("too_large: .*", 1),
    "lying_long": ("timeout: .*", 3),
    "lying_short": ("truncated: .*", 3),
    "lying_less": ("bad_response: .*", 1),
    "reset": ("(truncated|reset): .*", 3),
    "loop/0": ("redirects: more than 5", 1),
    "hops/5": ("redirects: more than 5", 1),
    "to_nowhere": ("redirects: without a target", 1),
    "to_metadata": ("forbidden_address: 169.254.169.254", 1),
    "to_nat64": ("forbidden_address: 64:ff9b::a9fe:a9fe", 1),
    "to_mapped": ("forbidden_address: ::ffff:.*", 1),
    "to_number": ("bad_url: not a web address", 1),
    "to_private_name": ("forbidden_address: private.test resolves to 10.0.0.1", 1),
    "to_file": ("bad_url: .*", 1),
    "to_user": ("bad_url: .*", 1),
    "to_closed": ("robots: .*", 1),
    "no_http": ("bad_response: .*", 1),
}
SLOW = {"drip", "slow_head", "lying_long"}
TAKEN = {
    "ok/1": 1, "ok/2": 1, "a/name.png": 1, "b/name.png": 1, "chunked": 1, "hops/4": 1, "to_other": 1, "jpeg": 1,
    "gif": 1, "webp": 1, "bmp": 1, "again_429": 2, "again_503": 2, "again_500": 3, "etag": 1,
}  # fmt: skip


def wrong_outcomes(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """Those that are not what REFUSED and TAKEN say of their paths."""

    def right(path: str, outcome: Outcome) -> bool:
        if path in TAKEN:
            return (outcome.status, outcome.reason, outcome.attempts) == ("stored", "", TAKEN[path])
        reason, attempts = REFUSED[path]
        refused = outcome.status == "refused" and outcome.sha256 is None and outcome.attempts == attempts
        return refused and re.fullmatch(reason, outcome.reason) is not None

    return {path: outcome for path, outcome in outcomes.items() if not right(path.partition("?")[0], outcome)}


def fetch_all_behaviours(server, tmp_path, paths: Iterable[str], **limits: object) -> dict[str, Outcome]:
    """The outcomes by path; only those that would never end have little time, so that no busy machine fails others."""
    urls = {server.url(path): path for path in paths}
    slow = [url for url, path in urls.items() if path.partition("?")[0] in SLOW]
    outcomes = fetch(tmp_path, [url for url in urls if url not in slow], **limits)
    outcomes |= fetch(tmp_path, slow, **(limits | {"seconds": 0.6}))
    return {urls[url]: outcome for url, outcome in outcomes.items()}


def test_every_behaviour_ends_with_its_own_row(server, tmp_path):
    outcomes = fetch_all_behaviours(server, tmp_path, (*REFUSED, *TAKEN))
    assert wrong_outcomes(outcomes) == {}
    assert outcomes["gif"].extension == ".gif"
    assert outcomes["ok/1"].sha256 == sha(picture(1))
    assert outcomes["to_other"].final_url == server.url("ok/1", "other.test")
    assert outcomes["gone/1"].http_status == 404
    assert outcomes["etag"].etag == '"five"'
    assert server.requests["good.test", "robots.txt"] <= 4  # once for each of the two runs, unless it had little time


@pytest.mark.slow
def test_a_thousand_urls_of_all_behaviours_in_little_memory(server, tmp_path):
    stateless = [path for path in (*REFUSED, *TAKEN) if not path.startswith("again")]
    paths = [f"{path}?{number}" for path in stateless for number in range(22)]
    assert len(paths) >= 1000
    tracemalloc.start()
    outcomes = fetch_all_behaviours(server, tmp_path, paths, connections=64, per_host=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert wrong_outcomes(outcomes) == {}
    assert peak < 200 * 2**20  # the server's threads included


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://good.test/a.jpg", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("good.test/a.jpg", "bad_url"),
        ("http://me:secret@good.test/", "bad_url"),
        ("http://good.test:99999/", "bad_url"),
        ("http:///a.jpg", "bad_url"),
        ("http://[::1/", "bad_url"),
        ("http://good.test/a b", "bad_url"),
        ("http://good.test/" + "a" * 5000, "bad_url"),
        ("http://10.0.0.1/", "forbidden_address"),
        ("http://[fe80::1]/", "forbidden_address"),
        ("http://[::ffff:127.0.0.1]/", "forbidden_address"),
        (
            "http://0x7f000001/",
            "dns",
        ),  # as tests resolve names: the system's resolver gives an address, which is refused
        ("http://2130706433/", "bad_url"),
        ("http://absent.test/", "dns"),
    ],
)
def test_a_url_that_may_not_be_requested_is_refused_without_a_connection(tmp_path, url, reason):
    CONNECTED.clear()
    (outcome,) = fetch(tmp_path, [url], rule=is_public).values()
    assert outcome.reason.partition(":")[0] == reason
    assert CONNECTED == []


def test_the_systems_resolver_reads_odd_numbers_as_addresses_which_are_checked_too(tmp_path):
    (outcome,) = fetch(tmp_path, ["http://0x7f.1/"], rule=is_public, lookup=crawl.resolve).values()
    assert outcome.reason == "forbidden_address: 0x7f.1 resolves to 127.0.0.1"


def test_a_name_that_no_server_can_know_is_refused(tmp_path):
    urls = [f"http://{'a' * 70}.test/", "http://a..test/"]
    outcomes = fetch(tmp_path, urls, lookup=crawl.resolve).values()
    assert {outcome.reason.partition(":")[0] for outcome in outcomes} <= {"dns", "bad_url"}


@given(st.text() | st.from_regex(r"https?://[^\s]*", fullmatch=True))
def test_any_text_is_a_url_or_refused(text):
    with suppress(RefusedError):  # and nothing else
        url = parse_url(text)
        assert url.scheme in {"http", "https"}
        assert url.raw_host
        assert url.raw_user is None


def test_a_name_that_changes_its_answer_gains_nothing(server, tmp_path):
    answers = iter(["127.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"])

    async def rebinding(host: str, port: int) -> list[str]:
        return [next(answers)]

    urls = [server.url("slow_head?1"), server.url("ok/1")]
    (first, second) = fetch(
        tmp_path, urls, lookup=rebinding, per_host=1, connections=1, attempts=1, seconds=0.6
    ).values()
    # robots.txt came over the first connection, and so did what it still could carry; each later one is checked anew.
    assert first.reason.startswith("timeout")
    assert second.reason == "forbidden_address: good.test resolves to 10.0.0.1"


def test_the_last_look_is_at_the_address_of_the_socket(server):
    """Should a way through the client ever lead past the resolver, as that of an address in the URL does."""
    from pipeline.web_ingest.connecting import open_session
    from pipeline.web_ingest.failures import ForbiddenAddressError

    async def request() -> None:
        async with open_session(is_public, "me@example.org", 1) as session:
            await session.get(f"http://127.0.0.1:{server.port}/ok/1")

    with pytest.raises(ForbiddenAddressError):
        asyncio.run(request())
    assert CONNECTED == []


def test_requests_name_the_contact_and_send_nothing_of_ours(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    fetch(tmp_path, [server.url("cookie")])
    fetch(tmp_path, [server.url("ok/1"), server.url("to_other")])
    assert all("User-Agent: nsfw-pipeline/0.1.0 (+me@example.org)" in head for head in server.heads)
    assert all("Accept-Encoding: identity" in head for head in server.heads)
    assert not any(re.search("(?i)^(cookie|authorization|referer|proxy)", head, re.MULTILINE) for head in server.heads)


def test_robots_txt_is_obeyed_and_a_name_without_servers_costs_one_request(server, tmp_path):
    urls = [server.url(path, "closed.test") for path in ("private/1", "ok/1")]
    urls += [server.url("ok/1", "big.test"), server.url("ok/1", "flaky.test")]
    urls += [server.url(f"ok/{number}", "broken.test") for number in range(5)]
    urls += [f"http://absent.test/{number}" for number in range(20)]
    outcomes = fetch(tmp_path, urls, per_host=1)
    codes = [outcome.reason.partition(":")[0] for outcome in outcomes.values()]
    assert codes == ["robots", "", "robots", "", *["robots"] * 5, *["dns"] * 20]
    assert sum(outcome.attempts for outcome in list(outcomes.values())[9:]) == 1
    assert {path: count for (host, path), count in server.requests.items() if host == "broken.test"} == {
        "robots.txt": 3
    }
    assert server.requests["closed.test", "private/1"] == 0


def test_a_robots_txt_may_not_exhaust_its_reader():
    start = time.process_time()
    with pytest.raises(RefusedError, match="too many rules"):
        robots.parse(b"User-agent: a\n" * 20_000 + b"Disallow: /x\n" * 15_000)
    star = robots.parse(b"User-agent: *\nDisallow: /" + b"*a" * 100_000 + b"b\n")
    assert star.can_fetch("http://a.test/" + "a" * 4000, "nsfw-pipeline")
    assert time.process_time() - start < 2


def test_a_host_that_is_down_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    urls = [f"http://good.test:{port}/{number}" for number in range(10)]
    outcomes = list(fetch(tmp_path, urls, per_host=1).values())
    assert outcomes[0].reason == "connect: no connection"
    assert outcomes[0].attempts == 3
    assert {outcome.reason.partition(":")[0] for outcome in outcomes[1:]} == {"host_down"}


def test_a_host_that_wants_a_long_pause_has_it(server, tmp_path):
    urls = [server.url(path, "slow.test") for path in ("busy", "ok/1", "ok/2")]
    outcomes = list(fetch(tmp_path, [*urls, server.url("ok/3")], per_host=1).values())
    assert [outcome.reason for outcome in outcomes] == [
        "http_429", *["host_busy: wants a pause of 3600 s (http_429)"] * 2, "",
    ]  # fmt: skip
    assert [outcome.attempts for outcome in outcomes] == [1, 0, 0, 1]
    assert server.requests["slow.test", "ok/1"] == 0


def test_a_robots_txt_that_leads_nowhere_gives_up_no_host(server, tmp_path):
    (outcome,) = fetch(tmp_path, [server.url("ok/1", "lost.test")]).values()
    assert outcome.reason == "dns: the name does not exist"
    assert server.requests["lost.test", "robots.txt"] == 1


def test_large_pictures_come_a_few_at_a_time(server, tmp_path):
    urls = [server.url(f"large?{number}") for number in range(12)]
    outcomes = fetch(tmp_path, urls, picture_mb=3, seconds=10.0)
    assert {(outcome.status, outcome.bytes) for outcome in outcomes.values()} == {("stored", 2 * 2**20)}


def test_hosts_go_side_by_side_each_at_its_pace(server, tmp_path):
    hosts = ("good.test", "other.test", "alike.test")
    urls = [server.url(f"ok/{number}", host) for host in hosts for number in range(3)]
    start = time.monotonic()
    fetch(tmp_path, urls, delay_seconds=0.2)
    assert time.monotonic() - start > 0.55  # four turns of each host: robots.txt has one
    assert max(server.requests.values()) == 1
    order = [re.search(r"Host: ([\w.]+)", head)[1] for head in server.heads]
    assert set(order[:3]) == set(hosts)


def test_a_full_disk_is_told_and_what_was_fetched_stays(server, tmp_path, monkeypatch):
    urls = [server.url("ok/1"), server.url("ok/2")]
    first = fetch(tmp_path, urls[:1])
    with monkeypatch.context() as patched:
        full = Mock(side_effect=sqlite3.OperationalError("database or disk is full"))
        patched.setattr(Journal, "record", full)
        with pytest.raises(UserError, match=r"journal\.db cannot be written \(database or disk is full\)"):
            fetch(tmp_path, urls)
    assert fetch(tmp_path, urls).items() >= first.items()
    assert server.requests["good.test", "ok/1"] == 1


def test_a_journal_fetches_nothing_twice(server, tmp_path):
    urls = [server.url(f"ok/{number}") for number in range(5)]
    first = fetch(tmp_path, urls)
    assert fetch(tmp_path, urls) == first
    assert {count for (_, path), count in server.requests.items() if path != "robots.txt"} == {1}
