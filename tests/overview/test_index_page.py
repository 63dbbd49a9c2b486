"""reports/index.html, as `nsfw summary` writes it."""

import copy
import re

import pytest

from pipeline.core import paths
from pipeline.overview import decided, index_page

SIDE = {"pictures": 190, "changed": 7, "relabelled": 3, "confirmed": 40, "dropped": 0, "unsure": 1, "escalated": 2,
        "accuracy": 0.5, "macro_recall": 0.25, "unsafe_recall": None}  # fmt: skip

FIGURES = {
    "sighted": 1556,
    "kept": 1306,
    "test_pictures": 190,
    "problem": "",
    "weak_suspicions": "",
    "kept_start": False,
    "diverged_epoch": None,
    "decisions": {"pictures": 0, "escalated": 0, "raw": SIDE, "cleaned": SIDE},
    "gates": {"gates": [{"gate": "clean", "status": "pass"}]},
    "gain": None,
    "model": {"model": "nsfw", "alias": "challenger", "version": 3, "pending": False},
    "trained_from": {"commit": "a" * 40, "dirty": True, "data_md5": "1f.dir"},
    "working_tree": {"commit": None, "dirty": None, "data_md5": None},
    **{
        name: {"accuracy": share, "macro_recall": share, "recall": {"porn": share}, "unsafe": {"recall": share}}
        for name, share in (("frozen", 0.5), ("finetuned", 0.75))
    },
}


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths.REPORTS_DIR.mkdir()
    return copy.deepcopy(FIGURES)


def links(page):
    return re.findall(r'href="([^"]+)"', page)


def test_it_leads_to_what_is_there_and_says_how_the_rest_is_made(figures, tmp_path):
    paths.DUPLICATES_REPORT.write_text("x")
    paths.CONFLICTS.parent.mkdir()
    paths.CONFLICTS.write_text("x")
    card = tmp_path / "card.html"
    card.write_text("the card")
    index_page.write(figures, card)
    page = index_page.INDEX.read_text(encoding="utf-8")
    assert links(page) == ["model_card.html", "duplicates.html", "../build/conflicts.csv"]
    assert all((paths.REPORTS_DIR / link).is_file() for link in links(page))
    assert (paths.REPORTS_DIR / "model_card.html").read_text() == "the card"
    assert "not made yet: <code>dvc repro validate</code>" in page
    assert "not made yet: <code>dvc plots show</code>" in page


def test_another_versions_card_does_not_stay(figures, tmp_path):
    card = tmp_path / "card.html"
    card.write_text("the card")
    index_page.write(figures, card)
    index_page.write(figures, None)
    assert not (paths.REPORTS_DIR / "model_card.html").exists()
    assert "not made yet: <code>nsfw summary</code>" in index_page.INDEX.read_text(encoding="utf-8")


def test_it_says_which_model_commit_and_data(figures):
    page = index_page.render(figures)
    for text in ("nsfw, version 3, alias challenger", "a" * 40 + ", with uncommitted changes", "1f.dir", "unknown",
                 "not versioned", "50.0 %", "75.0 %", "Gates: none failed.", "1,556"):  # fmt: skip
        assert text in page


def test_what_is_wrong_stands_first_and_is_escaped(figures):
    figures["problem"] = "build/ holds <another> version"
    figures["weak_suspicions"] = "the model is weak"
    figures |= {"kept_start": True, "diverged_epoch": 2}
    figures["gates"]["gates"].append({"gate": "leaks", "status": "fail"})
    figures["model"] |= {"pending": True, "version": None}
    page = index_page.render(figures)
    assert "build/ holds &lt;another&gt; version" in page.split("<h2>")[0]
    assert "the model is weak" in page.split("<h2>")[0]
    assert "DIVERGED in epoch 2" in page.split("<h2>")[0]
    assert "NOTHING WAS GAINED" in page.split("<h2>")[0]
    assert "Gates: failed: leaks." in page
    assert "nsfw, not registered yet" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_what_decisions_changed_stands_side_by_side(figures):
    assert "labels as scraped" in index_page.render(figures)
    cleaned = SIDE | {"pictures": 189, "accuracy": 0.625}
    figures["decisions"] = {"pictures": 50, "escalated": 3, "raw": SIDE, "cleaned": cleaned}
    page = index_page.render(figures)
    assert "50 pictures decided: 7 relabelled or resolved, 3 of these in the test set, 40 confirmed, 1 unsure" in page
    assert "190 pictures, labels as decided" in page
    assert '<td>accuracy</td><td class="number">50.0 %</td><td class="number">62.5 %</td>' in page
    lines = decided.lines(figures["decisions"])
    assert lines[0].startswith("decisions  on 50 pictures")
    assert any("pictures" in line and "190" in line and "189" in line for line in lines)
    assert "3 pictures, for someone to handle: reports/escalations.csv" in lines[-1]


def test_without_mlflow_there_is_no_gate_line(figures):
    figures["gates"] = None
    assert "Gates" not in index_page.render(figures)
