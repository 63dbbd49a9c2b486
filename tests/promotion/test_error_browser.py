import html
import re

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe

from pipeline.evidence.document import Document
from pipeline.promotion import error_browser
from pipeline.promotion.changed_sides import MOVED_COLUMNS
from tests.support.pictures import jpeg
from tests.support.versions import NAMES, document, predictions

HOSTILE = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>"


def about(wrong=None, each=20, **more) -> error_browser.About:
    frame = predictions({"porn": 3, "neutral": 6} if wrong is None else wrong, each=each)
    member = pd.DataFrame({"sha256": frame["sha256"], "family": "source"})
    member["slice"] = ["web" if number % 2 else HOSTILE for number in range(len(member))]
    slice_row = {
        "family": "source", "slice": HOSTILE, "pictures": 30, "unsafe_pictures": 10, "accuracy": 0.8,
        "accuracy_interval": [0.7, 0.9], "unsafe_recall": 0.7, "unsafe_recall_interval": [0.4, 0.9],
        "false_positive_rate": 0.1, "false_positive_rate_interval": [0.05, 0.2],
    }  # fmt: skip
    evidence = Document.read(document(frame, "a" * 64, slices={"rows": [slice_row], "gap": None, "min_slice": 20}))
    values = {
        "title": "nsfw, version 7",
        "document": evidence,
        "predictions": frame,
        "slices": member,
        "moved": pd.DataFrame(columns=list(MOVED_COLUMNS)),
        "against": "",
    }
    return error_browser.About(**(values | more))


@pytest.fixture
def thumbnails(rng):
    content = jpeg(rng)
    return lambda contents: dict.fromkeys(contents, content)


def moved(frame: pd.DataFrame) -> pd.DataFrame:
    row = {"label": "porn", "side": "newly missed", "said_before": "porn", "said_after": "neutral"}
    row |= {"unsafe_before": 0.9, "unsafe_after": 0.1}
    return pd.DataFrame([{"sha256": sha256, **row} for sha256 in frame["sha256"][:15]])[list(MOVED_COLUMNS)]


def test_the_matrix_leads_to_the_pictures_of_each_cell(thumbnails):
    made = error_browser.page(about(), thumbnails)
    links = re.findall(r'<a href="#(cell-\d-\d)" data-opens="\1" aria-label="([^"]*)">(\d+)</a>', made)
    assert ("cell-1-2", "neutral called porn: 6 pictures", "6") in links
    assert ("cell-2-0", "porn called drawings: 3 pictures", "3") in links
    for cell, _, _ in links:
        assert f'<details id="{cell}"' in made
    assert made.index('id="cell-1-2"') < made.index('id="cell-2-0"') < made.index('id="cell-0-0"')
    assert "the least sure 12 shown" in made


def test_the_worst_come_first():
    frame = predictions({"porn": 3})
    frame.loc[frame.index[-100:-97], "p_drawings"] = [0.5, 0.9, 0.7]
    frame.loc[frame.index[-100:-97], ["p_neutral", "p_porn"]] = [[0.3, 0.2], [0.05, 0.05], [0.2, 0.1]]
    test = error_browser.judged(frame, about().document.match)
    worst = test[test["wrong"]].sort_values("margin", ascending=False)
    assert worst["probability"].tolist() == [0.9, 0.7, 0.5]
    assert worst["margin"].round(2).tolist() == [0.85, 0.6, 0.3]


def test_a_hostile_name_is_text_and_only_the_pages_own_scripts_run(thumbnails):
    cases = [{"sha256": "b" * 64, "expected_label": "neutral", "answer": "porn", "ticket": HOSTILE, "slice": HOSTILE}]
    made = error_browser.page(about(cases=cases), thumbnails)
    assert HOSTILE not in made
    assert "&lt;script&gt;document.title=" in made
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', made)[1])
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == made.count("<script>") + made.count("<style>")


def test_it_stays_under_a_few_megabytes_and_loads_nothing():
    labels = NAMES
    each = 400
    frame = predictions(dict.fromkeys(labels, each // 2), each=each)
    requested = []

    def thumbnails(contents):
        requested.extend(contents)
        return dict.fromkeys(contents, np.random.default_rng(1).bytes(4000))

    worst = about(wrong=dict.fromkeys(labels, each // 2), each=each, moved=moved(frame), against="x")
    made = error_browser.page(worst, thumbnails)
    assert len(requested) == len(set(requested)) <= error_browser.MOST_PICTURES
    assert len(made) < 3_000_000
    assert re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,|#)[^"]*"', made) == []


def test_what_changed_sides_is_shown_against_production(thumbnails):
    frame = predictions(each=20)
    made = error_browser.page(about(moved=moved(frame), against="version 3 in production"), thumbnails)
    assert "What changed sides against version 3 in production" in made
    assert "newly missed: 15, 10 shown" in made
    assert "porn: porn before, neutral now, unsafe 0.90 to 0.10" in made
    assert "No test picture changed" in error_browser.page(about(against="version 3"), thumbnails)
    assert "changed sides" not in error_browser.page(about(), thumbnails)


def test_without_the_pictures_it_is_a_page_of_numbers():
    made = error_browser.page(about(), lambda _: {})
    assert "no picture here" in made
    assert "data:image" not in made


def test_a_model_with_other_labels_has_its_own_columns(thumbnails):
    from pipeline.evaluation.label_match import LabelMatch

    frame = predictions({"porn": 3}, each=10)
    frame = frame[["sha256", "split", "label"]].assign(p_safe=1 - frame["p_porn"], p_unsafe=frame["p_porn"])
    match = LabelMatch(("safe", "unsafe"), ("unsafe",), NAMES, ("porn",))
    evidence = Document.read(document(frame, "a" * 64, match))
    made = error_browser.page(about(document=evidence, predictions=frame), thumbnails)
    assert "porn called safe: 3" in made
    assert re.search(r'<details id="cell-0-0" class="cell right">', made)  # drawings called safe is right


@pytest.mark.slow
def test_in_a_browser_a_cell_opens_pictures_are_blurred_and_slices_filter(thumbnails, browser, tmp_path):
    path = tmp_path / "errors.html"
    path.write_text(error_browser.page(about(), thumbnails), encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cell = page.locator("#cell-1-2")
    assert not cell.evaluate("node => node.open")
    page.click("a[data-opens=cell-1-2]")
    assert cell.evaluate("node => node.open")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    thumb = cell.locator(".thumb").first
    assert "blur" in thumb.locator("img").evaluate("image => getComputedStyle(image).filter")
    thumb.click()
    assert "shown" in thumb.get_attribute("class")
    before = page.locator(".tile:visible").count()
    page.select_option("#slice", "source: web")
    assert page.locator(".tile:visible").count() > 0
    shown = page.locator(".tile:not([hidden])").evaluate_all("tiles => tiles.map(tile => tile.dataset.slices)")
    assert set(shown) == {"source: web"}
    assert page.inner_text("#filtered").startswith(f"{len(shown)} of ")
    assert before > 0
    assert page.title() == "Errors: nsfw, version 7"
    faults = [fault for fault in Axe().run(page).response["violations"] if fault["impact"] in {"serious", "critical"}]
    assert [(fault["id"], fault["nodes"][0]["html"][:100]) for fault in faults] == []
    assert problems == []
    page.close()
