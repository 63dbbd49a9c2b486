"""Every page with nothing, one and 5,000 things on it, under hostile names, wide and narrow.

SCREENSHOTS=/tmp/pages pytest tests/pages/test_every_page.py -m "slow or not slow"
"""

import copy
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from pipeline.core import paths, tables
from pipeline.duplicates import report
from pipeline.evidence.document import Document
from pipeline.monitoring.drift import Comparison, Share
from pipeline.monitoring.report import Monitored
from pipeline.monitoring.scores import Window
from pipeline.overview import index_page
from pipeline.params.monitor import Monitor
from pipeline.promotion import card_page, error_browser, model_card
from pipeline.promotion.changed_sides import MOVED_COLUMNS
from pipeline.validation import data_docs
from pipeline.validation.suites import Check, Suite
from tests.overview.test_index_page import FIGURES
from tests.support import review_project
from tests.support.demo_server import demo
from tests.support.page_checks import HOSTILE, LONG, NAMES, WIDTHS, check, opened
from tests.support.pictures import jpeg
from tests.support.public_reports import changed_params, reported
from tests.support.versions import document, predictions

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("width", WIDTHS)]
EMPTY_SCORES = pd.DataFrame({"reason": pd.Series(dtype=str), "sha256": pd.Series(dtype=str)})
COUNTS = pytest.mark.parametrize("count", [0, 1, 5000])


def show(browser: Any, width: int, html: str, name: str, tmp_path: Path) -> None:
    """Check a page that is a file."""
    path = tmp_path / "shown.html"
    path.write_text(html, encoding="utf-8")
    page = opened(browser, width)
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((one, at) => { one.open = at < 3; })")
    check(page, name)
    page.close()


def named(number: int) -> str:
    return NAMES[number % len(NAMES)]


# Pages that are files -----------------------------------------------------------------------------------------------


def duplicates(count: int, picture: bytes) -> str:
    row = {
        "status": "kept", "labels": [HOSTILE, LONG], "width": 4000, "height": 3000, "quality": 0.5, "sha256": "a" * 64,
        "representative": "a" * 64, "offered": LONG, "how": "", "distance": 3, "kind": "near", "frame": 0,
    }  # fmt: skip

    def cluster(number: int) -> dict[str, Any]:
        figures = [report._figure(row | {"labels": [named(number + at)]}, picture) for at in range(2 + number % 7)]
        figures[-1] |= {"source": None, "lines": [named(number)]}
        return {"name": "c" * 64, "size": len(figures), "why": named(number), "figures": figures, "more": number}

    listed = [cluster(number) for number in range(min(count, report.MOST_CLUSTERS))]
    counts = [
        report._table(named(at), [(named(at + n), n) for n in range(min(count, 60))], "pictures") for at in range(5)
    ]
    return report._document(counts, [("Conflicts", count, listed[:1]), ("Largest clusters", count, listed)])


@COUNTS
def test_the_duplicates_report(browser, tmp_path, rng, width, count):
    show(browser, width, duplicates(count, jpeg(rng)), f"duplicates {count}", tmp_path)


@COUNTS
def test_the_index_of_reports(browser, tmp_path, monkeypatch, width, count):
    monkeypatch.chdir(tmp_path)
    figures = copy.deepcopy(FIGURES)
    figures |= {"test_pictures": count, "sighted": count, "problem": HOSTILE if count else ""}
    figures["weak_suspicions"] = LONG if count else ""
    figures["decisions"]["pictures"] = count
    figures["trained_from"] = {"commit": "a" * 40, "dirty": True, "data_md5": named(count)}
    if count:
        figures["model"] |= {"model": LONG}
        figures["gates"] = {"gates": [{"gate": named(at), "status": "fail"} for at in range(12)]}
    show(browser, width, index_page.render(figures), f"index {count}", tmp_path)


@COUNTS
def test_the_page_of_drift(browser, tmp_path, width, count):
    shares = tuple(Share(named(at), 0.25, 0.5) for at in range(12))

    def rows(name: str) -> list[Comparison]:
        figures = ("unsafe decisions", "classes", "score unsafe", f"score {LONG}", HOSTILE)
        return [
            Comparison(name, figure, (1000, 900), 0.1, 0.2, 0.3, 1e-9 if count else None, shares, drifted=bool(count))
            for figure in figures
        ]

    window = Window(HOSTILE, Path(HOSTILE.replace("/", "")), ("a", "b"), EMPTY_SCORES, 5, (LONG,))
    compared = [row for at in range(1 + count) for row in rows(f"{at} {named(at)}" if at else "")]
    limits = Monitor(alpha=0.01, min_psi=0.1, min_shift=0.02, min_pictures=100)
    html = Monitored(window, [window], [compared], limits).page()
    show(browser, width, html, f"drift {count}", tmp_path)


def evidence_of(count: int) -> tuple[pd.DataFrame, Document]:
    """Answers on so many test pictures, and the evidence, with a slice of each hostile name."""
    frame = predictions({"porn": count // 12, "neutral": count // 9}, each=max(count // 3, 1)).head(max(count, 1))
    row = {
        "family": "source", "pictures": 30, "unsafe_pictures": 10, "accuracy": 0.8, "accuracy_interval": [0.7, 0.9],
        "unsafe_recall": 0.7, "unsafe_recall_interval": [0.4, 0.9], "false_positive_rate": 0.1,
        "false_positive_rate_interval": [0.05, 0.2],
    }  # fmt: skip
    rows = [row | {"slice": named(number), "family": "tag" if number else HOSTILE} for number in range(len(NAMES))]
    gap = {"family": HOSTILE, "best": LONG, "worst": HOSTILE, "gap": 0.3}
    slices = {"rows": rows, "gap": gap if count else None, "min_slice": 20}
    plain = {"unsafe_recall": 0.9, "unsafe_recall_interval": [0.8, 0.95], "macro_recall": 0.8, "recall": {"porn": 0.9}}
    robustness = {"pictures": len(frame), "plain": plain, HOSTILE: plain}
    robustness["worst"] = {"distortion": HOSTILE, "unsafe_recall": 0.9}
    more = {"slices": slices if count else slices | {"rows": []}, "robustness": robustness}
    return frame, Document.read(document(frame, "a" * 64, **more))


@COUNTS
def test_the_error_browser(browser, tmp_path, rng, width, count):
    frame, evidence = evidence_of(count)
    frame = frame.head(count)
    member = pd.DataFrame({"sha256": frame["sha256"], "family": "source"})
    member["slice"] = pd.Series([named(number) for number in range(len(member))], dtype="str")
    row = {"label": "porn", "side": "newly missed", "said_before": "porn", "said_after": "neutral"}
    row |= {"unsafe_before": 0.9, "unsafe_after": 0.1}
    moved = pd.DataFrame([{"sha256": sha256, **row} for sha256 in frame["sha256"][:15]], columns=list(MOVED_COLUMNS))
    cases = [
        {"sha256": sha, "expected_label": "neutral", "answer": "porn", "ticket": named(at), "slice": named(at + 1)}
        for at, sha in enumerate(frame["sha256"][:4])
    ]
    title = f"nsfw, version 7 {LONG}"
    about = error_browser.About(title, evidence, frame, member, moved, "version 3 in production", cases)
    html = error_browser.page(about, lambda shown: dict.fromkeys(shown[1:], jpeg(rng)))
    show(browser, width, html, f"errors {count}", tmp_path)


@pytest.mark.parametrize("count", [3, 5000])  # no version was ever measured on nothing
def test_the_model_card(browser, tmp_path, width, count):
    _, evidence = evidence_of(count)
    gates = [
        {"gate": f"gate_{at}", "status": "fail", "value": 0.123456789, "limit": None, "reason": named(at)}
        for at in range(4)
    ]
    text = model_card.render(evidence, {"model": LONG, "version": "3", "gates": gates})
    show(browser, width, card_page.html(text, HOSTILE), f"card {count}", tmp_path)


@pytest.fixture(scope="module")
def docs(tmp_path_factory) -> Callable[[int], Path]:
    """The folder of Great Expectations' pages with so many faults, made once for all widths."""

    @cache
    def make(count: int) -> Path:
        values = [named(number) for number in range(count)]
        frame = pd.DataFrame(
            {"sha256": values, "origin": [f"{one} {at}" for at, one in enumerate(values)]}, dtype="str"
        )
        allowed = {"column": "sha256", "value_set": [HOSTILE + "x", LONG]}
        checks = (
            Check("in_set", f"sha256 is one of {HOSTILE}", "ExpectColumnValuesToBeInSet", allowed, f"remove {LONG}"),
            Check("unique", LONG, "ExpectColumnValuesToBeUnique", {"column": "origin"}, "nothing", severity="warn"),
        )
        facts = [("sources", ", ".join(NAMES)), ("commit", "a" * 40)]
        folder = tmp_path_factory.mktemp("docs")
        data_docs.run_suites([Suite("sightings", frame, ("origin",), checks)], folder, facts)
        return folder

    return make


@COUNTS
def test_data_docs(browser, docs, width, count):
    """Great Expectations' pages of rules and results, and the first page."""
    pages = sorted(docs(count).rglob("*.html"))
    assert len(pages) == 3
    for path in pages:
        page = opened(browser, width)
        page.goto(path.as_uri())
        check(page, f"data docs {path.parent.name[:12]} {path.stem} {count}")
        page.close()


# Served pages -------------------------------------------------------------------------------------------------------


@pytest.fixture
def review(project) -> Callable[[int], Any]:
    """Make a project with so many suspicious labels and reports, and serve it."""
    (project / ".dvc").mkdir()

    def make(count: int) -> Any:
        real = min(count, 30)
        names = {number + 2: named(number).replace("/", "")[:100] + f"{number}.png" for number in range(min(real, 4))}
        listed = review_project.make(real + 2 if count else 0, names=names, rows=count - real)
        issues = tables.read_csv(paths.LABEL_ISSUES, ("sha256", "suggested"))
        issues.loc[issues["sha256"].isin(listed[2:6]), "suggested"] = NAMES[
            : len(issues[issues["sha256"].isin(listed[2:6])])
        ]
        tables.write_csv(issues, paths.LABEL_ISSUES)
        review_project.change(reviewers=["ada", LONG[:80]], second_opinion=0.0)
        if count:
            reported(count, NAMES)
        return review_project.server()

    return make


@COUNTS
def test_the_review_page(browser, review, width, count):
    with review(count) as (_, url):
        page = opened(browser, width, expected="404 (Not Found)")  # most of 5,000 have no picture
        page.goto(url)
        check(page, f"review enter {count}")
        page.get_by_role("button", name="ada").click()
        page.wait_for_selector("text=What to look at")
        check(page, f"review queues {count}")
        page.goto(f"{url}queue/suspicions")
        page.wait_for_selector(".picture.current .thumb img" if count else "#empty:not([hidden])")
        page.wait_for_load_state("networkidle")
        if count:
            page.wait_for_selector("#details h2")
        check(page, f"review queue {count}")
        page.get_by_text("Blur", exact=True).click()
        page.locator("input[data-picture=blur]").fill("0")
        page.locator("input[data-picture=grey]").fill("0")
        page.get_by_text("Blur", exact=True).click()
        page.keyboard.press("Space")
        page.keyboard.press("k")
        page.get_by_text("all saved").wait_for()
        check(page, f"review decided {count}")
        page.evaluate("document.getElementById('help').showModal()")
        check(page, f"review help {count}")
        page.goto(f"{url}reports")
        check(page, f"review reports {count}")
        page.close()


def test_the_demo_page(browser, project, monkeypatch, width):
    with demo(monkeypatch, changed_params(burst=50)) as server:
        page = opened(browser, width)
        page.goto(server.url)
        page.wait_for_selector("text=Model: nsfw, version 4 (production).")
        check(page, "demo begin")
        for name, colour in (("safe", "lime"), ("unsafe", "red")):
            buffer = io.BytesIO()
            Image.new("RGB", (600, 80), colour).save(buffer, "PNG")
            file = {"name": f"{LONG}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
            page.set_input_files("#file", file)
            page.wait_for_selector(f"#decision.{name}")
            check(page, f"demo {name}")
        page.click("#wrong")
        page.click("#send")  # without a class
        page.fill("#comment", HOSTILE + LONG)
        page.click("summary")
        check(page, "demo report")
        page.select_option("#label", "neutral")
        page.check("#consent")
        page.click("#send")
        page.wait_for_selector("#status.good")
        check(page, "demo reported")
        page.close()
