"""Cases over versions that were registered without a network: what each says is in its evidence."""

import json

import pandas as pd
import pytest

from pipeline.core import paths
from pipeline.promotion import promoting
from pipeline.reports import cases
from tests.support import version_fixtures
from tests.support.pictures import sha
from tests.support.versions import predictions

client, makes, params, project, store, template = (
    version_fixtures.client, version_fixtures.makes, version_fixtures.params,
    version_fixtures.project, version_fixtures.store, version_fixtures.template,
)  # fmt: skip

HEAD = "sha256,expected_label,slice,ticket,reported_at\n"


def answered(frame: pd.DataFrame, name: str, answer: str) -> pd.DataFrame:
    """A version's predictions, with one of a reported picture more."""
    row = {"sha256": sha(name), "split": "regression", "label": "neutral", "p_drawings": 0.0}
    row |= {"p_neutral": 0.1, "p_porn": 0.1, f"p_{answer}": 0.9}
    return pd.concat([frame, pd.DataFrame([row])], ignore_index=True)


@pytest.fixture
def reported(makes, params):
    """Versions 1 (never asked), 2 and 3 (wrong), 4 (right), and the case T-1."""
    paths.REPORTS.parent.mkdir(parents=True)
    paths.REPORTS.write_text(f"{HEAD}{sha('flower')},neutral,night,T-1,2026-01-02\n", encoding="utf-8")
    makes.version()
    for answer in ("porn", "porn", "neutral"):
        makes.version(frame=answered(predictions(), "flower", answer))
    return params


def test_show_tells_since_when_a_case_is_right(reported, nsfw):
    code, out, _ = nsfw("reports", "show", "T-1")
    assert code == 0
    assert out.splitlines()[0].startswith(f"ticket T-1, slice night: {sha('flower')} is neutral, reported 2026-01-02")
    assert "  wrong in 2 to 3, right since 4\n" in out
    assert "version 1: missing\n" in out
    assert "version 3: wrong, it says porn\n" in out
    document = json.loads(nsfw("reports", "show", "T-1", "--json")[1])
    outcomes = [row["outcome"] for row in document["cases"][0]["versions"]]
    assert outcomes == ["missing", "wrong", "wrong", "right"]


def test_check_names_what_a_version_gets_wrong_and_exits_1(reported, nsfw):
    code, out, _ = nsfw("reports", "check", "3")
    assert code == 1
    assert "version 3 of nsfw: 0 of 1 reported pictures are right" in out
    assert f"T-1, slice night: {sha('flower')[:12]} is neutral, it says porn" in out
    assert nsfw("reports", "check", "challenger")[0] == 0
    code, out, _ = nsfw("reports", "check", "1", "--json")
    assert (code, json.loads(out)["missing"]) == (1, 1)
    code, _, err = nsfw("reports", "check", "9")
    assert (code, "no version 9" in err) == (1, True)


def test_promote_refuses_the_version_that_fails_a_case_and_names_the_picture(reported, nsfw):
    code, out, _ = nsfw("promote", "3", "--reason", "a test")
    assert code == 1
    named = f"T-1, slice night: {sha('flower')[:12]} is neutral, it says porn"
    assert named in next(line for line in out.splitlines() if line.strip().startswith("reports"))
    outcome = promoting.promote(reported, "4", reason="a test")
    assert outcome.entry is not None


def test_a_case_that_no_version_knows_and_a_ticket_that_nobody_has(reported, nsfw):
    with paths.REPORTS.open("a", encoding="utf-8") as file:
        file.write(f"{sha('other')},porn,,T-2,2026-01-03\n")
    assert "no registered version has answered it yet" in nsfw("reports", "show", "T-2")[1]
    code, _, err = nsfw("reports", "show", "T-9")
    assert code == 1
    assert "'T-9'" in err


def test_without_reports_there_is_nothing_to_check(makes, params, nsfw):
    makes.version()
    code, out, _ = nsfw("reports", "check", "1")
    assert (code, "holds no case" in out) == (0, True)


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (["wrong", "missing", "right", "right"], "wrong in 1, right since 3"),
        (["right", "right", "unknown", "wrong"], "right in 1 to 2, wrong since 4"),
        (["wrong"], "wrong since 1"),
        (["right", "wrong", "right"], "right in 1, wrong in 2, right since 3"),
    ],
)
def test_a_history_in_words(outcomes, words):
    rows = [{"version": number, "outcome": outcome} for number, outcome in enumerate(outcomes, start=1)]
    assert cases.sentence(rows) == words
