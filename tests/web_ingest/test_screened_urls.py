"""What a screen matches among fetched contents is in no journal, no shard and no log, whenever the list came."""

from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import escalations, sightings
from pipeline.params.ingest import Ingest
from pipeline.web_ingest import batch, ingest
from pipeline.web_ingest.journal import open_journal
from pipeline.web_ingest.lists import Item
from tests.support.crawls import LIMITS, loopback
from tests.support.pictures import sha
from tests.support.screens import configure, opened, python_hook
from tests.support.web_server import lookup, picture, web_server

EVIL = picture(2)


@pytest.fixture
def server():
    with web_server() as running:
        yield running


@pytest.fixture
def wanted(server):
    return [Item(server.url(f"ok/{number}"), "porn") for number in range(5)]


def fetch(wanted, screens) -> None:
    limits = Ingest.model_validate(LIMITS)
    with open_journal(ingest.JOURNALS, "web") as journal:
        ingest.fetch(
            wanted, journal, limits, progress=lambda *_: lambda: None, screens=screens, rule=loopback, lookup=lookup
        )


def write(wanted, screens) -> batch.Batch:
    with open_journal(ingest.JOURNALS, "web") as journal:
        ingest.screen_journal(journal, screens)
        written = batch.write(wanted, journal, paths.DATA, "web")
        journal.delete()
    return written


def files_with(content: bytes) -> list[str]:
    return [str(path) for path in Path().rglob("*") if path.is_file() and content[20:60] in path.read_bytes()]


def check(written: batch.Batch, wanted: list[Item]) -> None:
    assert (written.count("stored"), written.count("escalated")) == (4, 1)
    row = sightings.load(paths.SIGHTINGS).set_index("origin").loc[wanted[2].url]
    assert (row["status"], row["reason"], row["sha256"]) == ("escalated", "escalated: matches own", sha(EVIL))
    (record,) = escalations.load(paths.ESCALATION_RECORDS).to_dict("records")
    assert (record["origin"], record["source"], record["door"]) == (wanted[2].url, "web", "ingest urls")
    assert (record["list"], record["entry"]) == ("own", sha(EVIL))
    assert files_with(EVIL) == []


def test_a_match_is_never_written_not_even_into_the_journal(project, wanted):
    configure({"own": ("sha256", sha(EVIL))})
    screens = opened()
    fetch(wanted, screens)
    assert files_with(picture(1)) != []
    assert files_with(EVIL) == []
    check(write(wanted, screens), wanted)


def test_a_list_that_comes_after_the_fetch_and_before_the_batch_counts(project, wanted):
    fetch(wanted, None)
    assert files_with(EVIL) != []
    configure({"own": ("sha256", sha(EVIL))})
    check(write(wanted, opened()), wanted)


def test_journals_of_ingests_that_were_cut_short_are_screened_too(project, wanted):
    fetch(wanted, None)
    configure({"own": ("sha256", sha(EVIL))})
    assert ingest.screen_journals(opened()) == 1
    assert files_with(EVIL) == []
    assert ingest.screen_journals(opened()) == 0


def test_what_passed_the_same_screens_is_not_screened_twice(project, wanted):
    configure({"own": ("sha256", sha(EVIL))})
    screens = opened()
    fetch(wanted, screens)
    with open_journal(ingest.JOURNALS, "web") as journal:
        assert journal.unscreened(screens.digest) == []
        assert len(journal.unscreened("another list")) == 4


def test_a_hook_without_answer_refuses_the_content_and_a_dead_one_stops_the_crawl(project, server):
    configure({}, hooks=[python_hook("raise SystemExit(2)")])
    few = [Item(server.url("ok/1"), "porn")]
    fetch(few, opened())
    with open_journal(ingest.JOURNALS, "web") as journal:
        outcome = journal.outcome(few[0].url)
        assert (outcome.status, outcome.sha256) == ("refused", None)
        assert outcome.reason.startswith("unscreened: hook photo: ")
    assert files_with(picture(1)) == []
    with pytest.raises(UserError, match=r"the hook 'photo' .* in a row"):
        fetch([Item(server.url(f"ok/{number}"), "porn") for number in range(20)], opened())
