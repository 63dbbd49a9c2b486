"""Public reports as a queue of the review page, over HTTP."""

import pytest

from pipeline.core import paths
from pipeline.data import annotation_files
from pipeline.pages.hosts import AllowedHosts
from pipeline.review import serve
from pipeline.review.app import application
from tests.review.test_pages import Browser
from tests.support.public_reports import changed_params, photo, send, stored
from tests.support.review_project import HOSTILE, change, make, workplace


@pytest.fixture
def app(project, monkeypatch):
    make(12)
    monkeypatch.setattr("pipeline.data.project.add_data", lambda: None)
    monkeypatch.setattr("pipeline.data.project.prepare_for_batch", lambda *_, **__: None)
    changed_params(burst=50, max_share=0.5)
    params = change(reviewers=["ada", "bob"], second_opinion=0.0)
    return application(workplace(params), serve.entrance(params, "127.0.0.1", None), AllowedHosts.of("127.0.0.1"))


def test_reports_are_a_queue_and_each_shows_what_was_said_blurred_and_escaped(app):
    params = app.state.work.params
    browser = Browser(app, "ada")
    assert '<a href="/reports">Public reports</a>' in browser.http.get("/").text
    assert "No report waits." in browser.http.get("/reports").text
    one = send(params, photo(1), comment=HOSTILE)
    send(params, photo(1), "192.0.2.9", consent=False)
    page = browser.http.get("/reports").text
    assert "2 reports wait" in page
    assert HOSTILE not in page
    assert "&lt;img src=x" in page
    assert f'<img src="/reports/pictures/{one}"' in page
    assert "Hashes alone" in page
    assert "Merge with 1 of the same picture" in page
    image = browser.http.get(f"/reports/pictures/{one}")
    assert (image.status_code, image.headers["content-type"]) == (200, "image/jpeg")
    assert browser.http.get("/reports/pictures/nobody").status_code == 404


def test_accepted_on_the_page_a_report_is_a_case_by_the_name_of_the_reviewer(app):
    one = send(app.state.work.params, photo(1))
    browser = Browser(app, "bob")
    response = browser.post_form("/reports", id=one, act="accept", label="porn", slice="night", ticket="T-9")
    assert response.status_code == 200
    assert "is a case now, ticket T-9. Next: git add data.dvc" in response.text
    (row,) = annotation_files.reports(paths.REPORTS, app.state.work.params.labels.names).to_dict("records")
    assert (row["expected_label"], row["slice"], row["ticket"]) == ("porn", "night", "T-9")
    (report,) = stored()
    assert (report.state, report.closed_by) == ("accepted", "bob")
    assert "No report waits." in browser.http.get("/reports").text


def test_what_cannot_be_done_is_told_and_the_rest_is_done(app):
    params = app.state.work.params
    bare = send(params, photo(3), consent=False)
    browser = Browser(app, "ada")
    refused = browser.post_form("/reports", id=bare, act="accept")
    assert refused.status_code == 409
    assert "only its hash came" in refused.text
    assert browser.post_form("/reports", id=bare, act="burn").status_code == 409
    assert browser.post_form("/reports", id=bare, act="escalate", note="for the lawyers").status_code == 200
    assert "shown to nobody here" in browser.http.get("/reports").text
    whole = send(params, photo(4))
    browser.post_form("/reports", id=whole, act="escalate")
    assert browser.http.get(f"/reports/pictures/{whole}").status_code == 404
    browser.post_form("/reports", id=whole, act="reject")
    assert browser.post_form("/reports", id=bare, act="reject").status_code == 200
    assert {report.state for report in stored()} == {"rejected"}
    first, second = send(params, photo(1)), send(params, photo(1), "192.0.2.9")
    assert browser.post_form("/reports", id=first, act="merge", near=second).status_code == 200
    assert {report.id: report.merged_into for report in stored()}[second] == first


def test_nobody_else_may_look_or_decide(app):
    one = send(app.state.work.params, photo(1))
    stranger, browser = Browser(app), Browser(app, "ada")
    assert stranger.http.get("/reports").status_code == 303
    assert stranger.http.get(f"/reports/pictures/{one}").status_code == 401
    assert stranger.post_form("/reports", id=one, act="reject").status_code == 401
    data = {"csrf_token": browser.token, "id": one, "act": "reject"}
    assert browser.http.post("/reports", data=data, headers={"origin": "http://evil.example"}).status_code == 403
    assert browser.http.post("/reports", data=data | {"csrf_token": "0"}, headers=browser.origin).status_code == 403
    assert stored()[0].state == "new"
