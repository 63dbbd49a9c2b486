"""The demo in a real browser: from a picture to a report, to a case, to a version that is refused."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from pipeline.core import paths
from pipeline.data import folder
from pipeline.registry import ledger
from pipeline.reports import inbox
from tests.support import version_fixtures
from tests.support.demo_server import OneModel, Painted, demo
from tests.support.pictures import scrape
from tests.support.public_reports import SECRET, inbox_bytes, photo, stored
from tests.support.versions import NAMES, predictions

pytestmark = pytest.mark.slow

client, makes, params, project, store, template = (
    version_fixtures.client, version_fixtures.makes, version_fixtures.params,
    version_fixtures.project, version_fixtures.store, version_fixtures.template,
)  # fmt: skip

COMMENT = "<img src=x onerror=\"document.title='owned'\">"


def reddish() -> bytes:
    """A photograph that the model takes for porn; it has a place and a camera in it."""
    with Image.open(io.BytesIO(photo(1, orientation=1))) as image:
        exif, pixels = image.getexif(), np.asarray(image).astype(float)
    buffer = io.BytesIO()
    tinted = np.clip(pixels * [1.0, 0.4, 0.4] + [60, 0, 0], 0, 255).astype(np.uint8)
    Image.fromarray(tinted).save(buffer, "JPEG", exif=exif)
    assert SECRET in buffer.getvalue()
    return buffer.getvalue()


@pytest.fixture
def page(params, monkeypatch, browser):
    """The demo page, loaded; nothing but this server may be asked."""
    with demo(monkeypatch, params, OneModel(Painted(labels=NAMES))) as server:
        opened = browser.new_page()
        elsewhere = []
        opened.on("request", lambda request: elsewhere.append(request.url))
        opened.on("pageerror", lambda error: pytest.fail(str(error)))
        opened.goto(server.url)
        opened.wait_for_selector("text=Model: nsfw, version 4 (production).")
        yield opened
        assert [url for url in elsewhere if not url.startswith((server.url, "blob:", "data:"))] == []
        opened.close()


def choose(page, data: bytes, name: str = "a.jpg") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/jpeg", "buffer": data})


def shown(page) -> bool:
    return "shown" in page.get_attribute("#picture", "class")


def test_a_report_becomes_a_case_that_refuses_a_version(page, makes, params, project, monkeypatch, nsfw, client):
    scrape(
        project,
        {f"raw/{label}/{number}.jpg": photo(900 + number) + label.encode() for label in NAMES for number in range(20)},
    )
    folder.ingest(folder.scan(project / "raw", NAMES), paths.DATA, "web")
    monkeypatch.setattr("pipeline.data.project.add_data", lambda: None)
    monkeypatch.setattr("pipeline.data.project.check_root", lambda: None)
    choose(page, reddish())
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#bars tr.top th") == "porn"
    assert "Unsafe: the unsafe classes add up to" in page.inner_text("#decision")
    page.click("#wrong")
    page.select_option("#label", "neutral")
    page.fill("#comment", COMMENT)
    page.check("#consent")
    page.click("#send")
    page.wait_for_selector("#status.good")
    assert "The report is stored as " in page.inner_text("#status")
    assert page.title() != "owned"
    (report,) = stored()
    assert (report.expected_label, report.comment, report.answer) == ("neutral", COMMENT, "porn")
    assert SECRET not in inbox_bytes()
    assert json.loads(nsfw("reports", "list", "--json")[1])["reports"][0]["id"] == report.id
    code, out, err = nsfw("reports", "accept", report.id, "--slice", "red light", "--ticket", "T-7")
    assert code == 0, err
    case = stored()[0].case_sha256
    assert f"{case[:12]} is neutral, ticket T-7" in out
    assert list(inbox.PICTURES.iterdir()) == []
    versions = {answer: makes.version(frame=with_case(case, answer)) for answer in ("porn", "neutral")}
    code, out, _ = nsfw("promote", versions["porn"], "--reason", "a test")
    assert code == 1
    assert f"T-7, slice red light: {case[:12]} is neutral, it says porn" in out
    code, out, err = nsfw("promote", versions["neutral"], "--reason", "a test")
    assert (code, err) == (0, "")
    (entry,) = ledger.read(client, "nsfw").effective
    assert [row["status"] for row in entry.draft.gates if row["gate"] == "reports"] == ["pass"]
    assert "wrong in 1, right since 2" in nsfw("reports", "show", "T-7")[1]


def with_case(case: str, answer: str) -> pd.DataFrame:
    """Predictions of a version that answers the case so."""
    row = {"sha256": case, "split": "regression", "label": "neutral", **{f"p_{name}": 0.05 for name in NAMES}}
    return pd.concat([predictions(), pd.DataFrame([row | {f"p_{answer}": 0.9}])], ignore_index=True)


def test_an_unsafe_picture_is_blurred_until_it_is_pressed_and_a_safe_one_is_shown(page):
    choose(page, reddish())
    page.wait_for_selector("#result:not([hidden])")
    assert not shown(page)
    assert "blur" in page.eval_on_selector("#image", "image => getComputedStyle(image).filter")
    page.click("#picture")
    assert shown(page)
    assert page.get_attribute("#picture", "aria-pressed") == "true"
    green = np.full((48, 64, 3), (20, 220, 20), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(green).save(buffer, "PNG")
    choose(page, buffer.getvalue(), "b.png")
    page.wait_for_selector("#decision.safe")
    assert shown(page)
    assert page.eval_on_selector("#image", "image => image.src").startswith("blob:")
    assert not paths.INBOX.exists()


def test_the_keyboard_alone_is_enough_and_without_consent_no_picture_is_stored(page):
    choose(page, reddish())
    page.wait_for_selector("#result:not([hidden])")
    page.focus("#file")
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "wrong"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "label"
    page.keyboard.press("n")
    page.keyboard.press("Tab")
    page.keyboard.type("mine")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "send"
    page.keyboard.press("Enter")
    page.wait_for_selector("#status.good")
    (report,) = stored()
    assert (report.expected_label, report.comment, report.picture) == ("neutral", "mine", "")
    assert page.evaluate("document.activeElement.id") == "result"


def test_faults_are_told_plainly_and_to_screen_readers(page):
    choose(page, b"this is no picture", "a.txt")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error").startswith("This file is not a picture that the model can read.")
    assert page.get_attribute("#error", "role") == "alert"
    assert page.is_hidden("#result")
    choose(page, reddish())
    page.wait_for_selector("#result:not([hidden])")
    assert page.is_hidden("#error")
    page.click("#wrong")
    page.click("#send")
    assert page.inner_text("#error") == "Choose the class that is right."
    assert page.get_attribute("#label", "aria-invalid") == "true"
    unnamed = page.evaluate(
        "Array.from(document.querySelectorAll('input, select, textarea'))"
        ".filter(field => !field.labels.length).map(field => field.id)"
    )
    assert unnamed == []


def test_a_picture_can_be_dropped_and_pasted(page):
    for kind in ("drop", "paste"):
        page.reload()
        page.wait_for_selector("text=Model: nsfw")
        page.evaluate(
            """([kind, bytes]) => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(bytes)], "a.jpg", {type: "image/jpeg"}));
              const name = kind === "drop" ? "dataTransfer" : "clipboardData";
              const made = kind === "drop" ? new DragEvent("drop", {[name]: data, bubbles: true, cancelable: true})
                : new ClipboardEvent("paste", {[name]: data, bubbles: true, cancelable: true});
              document.body.dispatchEvent(made);
            }""",
            [kind, list(reddish())],
        )
        page.wait_for_selector("#result:not([hidden])")
        assert page.inner_text("#bars tr.top th") == "porn"


def test_a_phone_shows_all_of_it_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 390, "height": 800})
    choose(page, reddish())
    page.wait_for_selector("#result:not([hidden])")
    page.click("#wrong")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_serious_fault(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    choose(page, reddish())
    page.wait_for_selector("#result:not([hidden])")
    page.click("#wrong")
    page.click("#send")
    page.click("summary")
    assert serious(page) == []


def serious(page) -> list[str]:
    faults = Axe().run(page).response["violations"]
    return [fault["id"] for fault in faults if fault["impact"] in {"serious", "critical"}]
