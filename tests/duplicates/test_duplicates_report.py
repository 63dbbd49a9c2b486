import re
import subprocess
import time

import pytest
from copies import COPIES, ingest, outs, run, scene
from pictures import encode, sha

from pipeline import paths
from pipeline.duplicates import report

HOSTILE = "<script>alert(1)</script>\"'&.jpg"


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
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:image/jpeg;base64,)", page)
    assert '<body class="blurred">' in page
    assert "alert(1)" not in page.replace("&lt;", "<").split("<table>")[0]


def test_what_comes_from_outside_is_escaped():
    assert report._text(HOSTILE) == "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;.jpg"
    table = report._table("t", [(HOSTILE, 3)])
    assert "<script" not in table


def test_long_lists_are_cut_and_said_to_be(project, monkeypatch):
    monkeypatch.setattr(report, "MOST_CLUSTERS", 1)
    monkeypatch.setattr(report, "MOST_PICTURES", 2)
    ingest({f"porn/{n}{name}.jpg": make(scene(n)) for n in (1, 2) for name, make in COPIES.items()})
    run()
    text = paths.DUPLICATES_REPORT.read_text(encoding="utf-8")
    assert "Largest clusters: 1 of 2" in text
    assert text.count("<img ") == 2
    assert f"and {len(COPIES) - 2} more" in text
    assert "and 3 more" in report._table("t", [(str(n), 1) for n in range(report.MOST_COUNTS + 3)])


def test_a_picture_that_no_longer_decodes_is_said_to_be_so():
    row = {"status": "kept", "labels": ["porn"], "width": 1, "height": 1, "quality": 0.5, "sha256": "a",
           "representative": "a", "offered": ""}  # fmt: skip
    assert "no longer decodes" in report._figure(row, None)


@pytest.mark.slow
def test_a_browser_shows_it(page, tmp_path):
    started = time.monotonic()
    shot = tmp_path / "shot.png"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={shot}"]
    subprocess.run([*command, str(paths.DUPLICATES_REPORT.absolute())], check=True, capture_output=True, timeout=60)
    assert shot.stat().st_size > 5_000
    assert time.monotonic() - started < 30
    assert paths.DUPLICATES_REPORT in outs()
