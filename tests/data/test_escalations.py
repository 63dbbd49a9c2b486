"""Records of matches: written once, whole or not at all, and read strictly."""

import multiprocessing

import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import escalations
from pipeline.data.escalations import Match, Verdict
from tests.support.pictures import sha


def verdict(text: str, *names: str) -> Verdict:
    matches = tuple(Match(name, "pdq", sha(name), 7) for name in names)
    return Verdict(sha(text), "m" * 32, "s" * 40, sha("pdq"), matches)


def rows(text: str, *names: str, origin: str = "porn/a.jpg") -> list[dict[str, str]]:
    return verdict(text, *names).rows(origin=origin, source="web", door="ingest folder")


def test_a_record_holds_hashes_list_origin_and_time(project):
    assert escalations.append(paths.ESCALATION_RECORDS, rows("a", "partner", origin="porn/two\nlines.jpg")) == 1
    (record,) = escalations.load(paths.ESCALATION_RECORDS).to_dict("records")
    assert record["sha256"] == sha("a")
    assert (record["list"], record["kind"], record["entry"], record["distance"]) == (
        "partner",
        "pdq",
        sha("partner"),
        "7",
    )
    assert (record["origin"], record["source"], record["door"]) == ("porn/two lines.jpg", "web", "ingest folder")
    assert record["screened_at"].endswith("+00:00")


def test_each_content_list_and_origin_is_recorded_once(project):
    path = paths.ESCALATION_RECORDS
    assert escalations.append(path, rows("a", "one", "two")) == 2
    assert (
        escalations.append(path, [*rows("a", "two"), *rows("a", "two", origin="b"), *rows("a", "two", origin="b")]) == 1
    )
    assert len(escalations.load(path)) == 3
    assert escalations.append(path, []) == 0


def test_what_stands_there_stays_byte_for_byte(project):
    escalations.append(paths.ESCALATION_RECORDS, rows("a", "one"))
    before = paths.ESCALATION_RECORDS.read_bytes()
    escalations.append(paths.ESCALATION_RECORDS, rows("b", "one"))
    assert paths.ESCALATION_RECORDS.read_bytes().startswith(before)


def test_a_file_that_is_none_is_refused_and_left_alone(project):
    paths.ESCALATION_RECORDS.parent.mkdir(exist_ok=True)
    paths.ESCALATION_RECORDS.write_text("who,what\n1,2\n", encoding="utf-8")
    with pytest.raises(UserError, match="unknown column"):
        escalations.append(paths.ESCALATION_RECORDS, rows("a", "one"))
    assert paths.ESCALATION_RECORDS.read_text(encoding="utf-8") == "who,what\n1,2\n"


def _append(number: int) -> None:
    for turn in range(5):
        escalations.append(paths.ESCALATION_RECORDS, rows(f"{number} {turn}", "one"))


def test_several_processes_lose_nothing_of_each_other(project):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(number,)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(escalations.load(paths.ESCALATION_RECORDS)) == 20
