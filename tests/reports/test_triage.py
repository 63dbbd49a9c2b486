import json

import pytest

from pipeline.core.errors import UserError
from pipeline.params.root import load_params
from pipeline.reports import inbox, listing, triage
from tests.support.public_reports import changed_params, photo, send, stored


@pytest.fixture
def params(project):
    return changed_params(burst=50)


def by_id():
    return {report.id: report for report in stored()}


def test_a_rejected_report_loses_its_picture_at_once(params, nsfw):
    one, other = send(params), send(params, photo(2))
    code, out, _ = nsfw("reports", "reject", one[:6], "--note", "the model is right")
    assert (code, out.splitlines()[0]) == (0, f"{one} rejected")
    report = by_id()[one]
    assert (report.state, report.note, report.picture) == ("rejected", "the model is right", "")
    assert [path.name for path in inbox.PICTURES.iterdir()] == [by_id()[other].picture]
    code, _, err = nsfw("reports", "reject", one)
    assert code == 1
    assert f"report {one} is rejected already" in err


def test_escalated_reports_come_first_and_stay_open(params, nsfw):
    ids = [send(params, photo(number)) for number in range(3)]
    assert nsfw("reports", "escalate", ids[2], "--note", "for the lawyers")[0] == 0
    _, out, _ = nsfw("reports", "list", "--json")
    rows = json.loads(out)["reports"]
    assert rows[0]["id"] == ids[2]
    assert {row["state"] for row in rows} == {"new", "escalated"}
    assert {row["days_left"] for row in rows} == {30}
    assert nsfw("reports", "reject", *ids)[0] == 0
    _, out, _ = nsfw("reports", "list")
    assert "no report waits" in out
    assert len(json.loads(nsfw("reports", "list", "--all", "--json")[1])["reports"]) == 3


def test_reports_of_one_picture_become_one(params):
    data = photo(1)
    bare = send(params, data, "192.0.2.1", consent=False)
    whole = send(params, data, "192.0.2.2")
    near = send(params, photo(1, quality=60), "192.0.2.3")
    other = send(params, photo(2), "192.0.2.4")
    disputed = send(params, data, "192.0.2.5", expected_label="drawings")
    shown = listing.collect(params, every=False)
    assert [set(group) for group in shown["same_picture"]] == [{bare, whole, near, disputed}]
    ((head, merged),) = triage.merge(params)
    assert (head.id, {report.id for report in merged}) == (whole, {bare, near})
    rows = by_id()
    assert (rows[whole].count, rows[bare].merged_into, rows[near].state) == (3, whole, "merged")
    assert {rows[other].state, rows[disputed].state} == {"new"}
    assert len(list(inbox.PICTURES.iterdir())) == 3
    with pytest.raises(UserError, match=f"is merged into {whole} already"):
        triage.reject([bare], "")
    triage.merge(params, [whole, disputed])
    assert by_id()[disputed].merged_into == whole


def test_two_pictures_are_not_merged(params):
    ids = [send(params, photo(number)) for number in (1, 2)]
    with pytest.raises(UserError, match="not about one picture"):
        triage.merge(params, ids)
    assert triage.merge(params) == []


@pytest.mark.parametrize("name", ["", "zz"])
def test_a_report_that_nobody_made_is_named(params, nsfw, name):
    send(params)
    code, _, err = nsfw("reports", "show", name) if name else nsfw("reports", "reject", "")
    assert code == 1
    assert "no report begins with" in err or "more than one report" in err


def test_show_tells_everything_and_escapes_a_terminal(params, nsfw):
    one = send(params, comment="evil \x1b]0;owned\x07")
    _, out, _ = nsfw("reports", "show", one[:8])
    assert f"{one}: new" in out
    assert "version 4: unsafe" in out
    assert "porn 0.700, neutral 0.200" in out
    assert "deleted     in 30 days" in out
    assert "\x1b" not in out


def test_an_empty_inbox_is_told(project, nsfw):
    assert "no report waits" in nsfw("reports", "list")[1]
    assert load_params().reports.retain_days == 30
