import re

import pandas as pd
import pytest

from pipeline.core import paths
from pipeline.duplicates import report
from tests.support.copies import COPIES, ingest, outs, run, scene
from tests.support.pictures import encode, sha

pytestmark = pytest.mark.untraced

HOSTILE = "<script>alert(1)</script>\"'&.jpg"


ROW = {"status": "kept", "labels": ["porn"], "width": 1, "height": 1, "quality": 0.5, "sha256": "a",
       "representative": "a", "offered": ""}  # fmt: skip


@pytest.fixture
def page(project):
    pictures = {f"porn/{HOSTILE}".replace("/script", "script"): encode(scene(1), "PNG")}
    pictures |= {f"sexy/{name}.jpg": make(scene(1)) for name, make in COPIES.items()}
    pictures |= {f"neutral/{name}.jpg": make(scene(2)) for name, make in COPIES.items()}
    ingest(pictures, "batch-1")
    run()
    return paths.DUPLICATES_REPORT.read_text(encoding="utf-8")


def test_it_counts_and_shows_conflicts_and_clusters(page):
    assert "Conflicts: 1 of 1" in page
    assert "Largest clusters: 1 of 1" in page
    assert "porn ~ sexy" in page or "sexy ~ porn" in page
    assert "Kept: the largest, 300 × 240 px" in page
    assert "In conflict (porn, sexy), out of training until data/decisions.csv says." in page
    assert sha(encode(scene(1), "PNG")) in page
    assert re.search(r"\d+ of 256 bits apart; thumbnails agree", page)


def test_it_is_one_file_that_runs_its_own_script_alone(page):
    assert page.count("<script") == 1
    assert "default-src &#39;none&#39;" in page
    assert "unsafe" not in page.partition("<title>")[0]
    assert paths.DUPLICATES_REPORT in outs()
    assert not re.search(r"(src|href)=\"(?!data:image/jpeg;base64,)", page)
    assert '<body class="">' in page
    assert "alert(1)" not in page.replace("&lt;", "<").split("<table>")[0]


def test_what_comes_from_outside_is_escaped():
    counts = [report._table(HOSTILE, [(HOSTILE, 3)], "pictures")]
    cluster = {"name": HOSTILE, "size": 2, "why": HOSTILE, "more": 0}
    figure = report._figure(ROW | {"labels": [HOSTILE], "offered": HOSTILE}, b"a picture")
    text = report._document(counts, [("Conflicts", 1, [cluster | {"figures": [figure]}])])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;.jpg" in text
    assert "<script>alert" not in text


def test_long_lists_are_cut_and_said_to_be(project, monkeypatch):
    monkeypatch.setattr(report, "MOST_CLUSTERS", 1)
    monkeypatch.setattr(report, "MOST_PICTURES", 2)
    ingest({f"porn/{n}{name}.jpg": make(scene(n)) for n in (1, 2) for name, make in COPIES.items()})
    run()
    text = paths.DUPLICATES_REPORT.read_text(encoding="utf-8")
    assert "Largest clusters: 1 of 2" in text
    assert text.count("<img ") == 2
    assert f"and {len(COPIES) - 2} more" in text
    many = report._document([report._table("t", [(str(n), 1) for n in range(report.MOST_COUNTS + 3)], "pictures")], [])
    assert "and 3 more" in many
    assert f'<td>pictures</td><td class="n">{report.MOST_COUNTS + 3}</td>' in many


def test_a_picture_that_no_longer_decodes_or_is_escalated_is_said_to_be_so():
    assert report._figure(ROW, None)["missing"] == "no longer decodes"
    assert report._figure(ROW | {"status": "escalated"}, None)["missing"] == "escalated: not shown"


def totals(page):
    return {title: int(number.replace(",", "")) for title, number in re.findall(
        r'<th colspan=2>([^<]+)</th>.*?<tr class="total"><td>[a-z]+</td><td class="n">([\d,]+)</td>', page, re.DOTALL
    )}  # fmt: skip


def test_every_table_of_near_copies_has_the_same_total(page):
    counted = totals(page)
    near = {title: number for title, number in counted.items() if title.startswith("near copies")}
    assert len(near) == 4
    pictures = len(COPIES) + len(COPIES) + 1
    assert set(near.values()) == {pictures - 2}  # two clusters: one in each is what the others are copies of
    assert counted["pictures"] == pictures


def test_where_the_best_is_not_what_the_others_were_compared_with_it_still_counts_once():
    copies = pd.DataFrame(
        {
            "sha256": ["b", "c", "x", "y", "e"],
            "kind": ["near", "near", "near", "near", "exact"],
            "kept": ["a", "a", None, None, "a"],
            "representative": ["b", "b", "x", "x", "e"],
        }
    )
    near = report.near_copy_rows(copies)
    assert near[["sha256", "original"]].to_numpy().tolist() == [["b", "a"], ["c", "a"], ["y", "x"]]


def visible(page):
    """How many of the pictures are not blurred."""
    return page.locator("img").evaluate_all("all => all.filter(one => getComputedStyle(one).filter === 'none').length")


@pytest.mark.slow
def test_a_person_shows_one_picture_or_all_with_the_mouse_and_with_keys(page, browser):
    opened = browser.new_page(reduced_motion="reduce")
    problems = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text))
    opened.goto(paths.DUPLICATES_REPORT.absolute().as_uri())
    pictures = opened.locator("img").count()
    assert (visible(opened), pictures > 3) == (0, True)

    first = opened.locator("button.thumb").first
    first.click()
    assert (visible(opened), first.get_attribute("aria-pressed")) == (1, "true")
    first.click()
    assert visible(opened) == 0

    opened.get_by_role("button", name="Show all").click()
    assert visible(opened) == pictures
    opened.keyboard.press("b")
    assert visible(opened) == 0

    focused = "document.activeElement.querySelector('h3')?.textContent"
    opened.get_by_role("button", name="Next").click()
    one = opened.evaluate(focused)
    opened.keyboard.press("n")
    another = opened.evaluate(focused)
    assert one
    assert another
    assert one != another
    opened.keyboard.press("p")
    assert opened.evaluate(focused) == one
    assert problems == []


@pytest.mark.slow
def test_two_clusters_stand_side_by_side(page, browser):
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(paths.DUPLICATES_REPORT.absolute().as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= 1280
    columns = opened.locator(".clusters").first.evaluate("grid => getComputedStyle(grid).gridTemplateColumns")
    assert len(columns.split()) >= 2
