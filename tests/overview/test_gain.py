"""What decisions brought, in `nsfw summary` and on the index page."""

import copy

import pytest

from pipeline.overview import gain, index_page
from pipeline.promotion import comparison
from tests.overview.test_index_page import FIGURES
from tests.support import version_fixtures
from tests.support.versions import predictions

client, makes, params, project, store, template = (
    version_fixtures.client, version_fixtures.makes, version_fixtures.params,
    version_fixtures.project, version_fixtures.store, version_fixtures.template,
)  # fmt: skip


def model(version: int, *, pending: bool = False) -> dict:
    return {"model": "nsfw", "version": version, "pending": pending}


def test_the_last_version_is_set_beside_the_one_before_under_the_same_labels(makes, params):
    makes.version(frame=predictions({"porn": 20, "neutral": 10}))
    makes.version(frame=predictions({"porn": 5, "neutral": 10}))
    known = gain.collect(model(2))
    assert known is not None
    assert (known["before"], known["after"]) == (1, 2)
    assert [row[:3] for row in gain.rows(known)] == [
        ("unsafe recall", "80.0 %", "95.0 %"), ("macro recall", "90.0 %", "95.0 %"),
    ]  # fmt: skip
    text = "\n".join(gain.lines(known))
    assert "both under the labels as decided" in text
    assert "more: nsfw compare 1 2" in text
    page = index_page.render(copy.deepcopy(FIGURES) | {"gain": known})
    assert "version 1 -&gt; 2, both under the labels as decided" in page
    assert "95.0 %" in page


@pytest.mark.parametrize("known", [model(1), model(2, pending=True)])
def test_without_a_version_before_there_is_nothing_to_say(known, monkeypatch):
    monkeypatch.setattr(comparison, "compare", lambda *_: pytest.fail("compared all the same"))
    assert gain.collect(known) is None
    assert gain.lines(None) == gain.rows(None) == []


def test_versions_that_cannot_be_compared_are_not(makes, params):
    makes.version(frame=predictions(first=1000))
    makes.version()
    assert gain.collect(model(2)) is None
