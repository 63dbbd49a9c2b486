import base64
import hashlib
import io
import re

import httpx
import pytest
from PIL import Image

from pipeline.core import paths
from pipeline.pages import policy
from pipeline.reports import inbox
from tests.support.demo_server import demo
from tests.support.public_reports import SECRET, changed_params, inbox_bytes, photo, stored

pytestmark = pytest.mark.untraced


def colour(name: str, size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, name).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def running(project, monkeypatch):
    """The demo with a burst of 5 reports an address."""
    with demo(monkeypatch, changed_params()) as server:
        yield server


def test_a_picture_gets_classes_decision_threshold_and_version(running):
    response = running.classify(colour("red"))
    assert response.status_code == 200
    document = response.json()
    assert document["model"] == {"name": "nsfw", "version": "4", "role": "production"}
    assert max(document["probabilities"], key=document["probabilities"].get) == "porn"
    assert (document["decision"], document["threshold"]) == ("unsafe", 0.5)
    assert document["sha256"] == hashlib.sha256(colour("red")).hexdigest()
    assert not paths.INBOX.exists()  # looking at a picture stores nothing


def test_a_report_without_consent_stores_hashes_alone(running):
    data = photo(1)
    answer = running.classify(data).json()["answer"]
    response = running.report(answer, comment="<b>mine</b>")
    assert (response.status_code, response.json()["status"]) == (201, "new")
    (report,) = stored()
    assert (report.id, report.version, report.expected_label) == (response.json()["report"], "4", "neutral")
    assert (report.comment, report.picture) == ("<b>mine</b>", "")
    assert report.sha256 == hashlib.sha256(data).hexdigest()
    assert len(report.hashes) == 768
    assert list(inbox.PICTURES.iterdir()) == []
    assert running.report(answer).json() == {"status": "repeated", "report": ""}


def test_a_report_with_consent_stores_pixels_and_no_metadata(running):
    data = photo(1)
    answer = running.classify(data).json()["answer"]
    assert running.report(answer, picture=base64.b64encode(data).decode()).status_code == 201
    (file,) = inbox.PICTURES.iterdir()
    with Image.open(file) as image:
        assert (image.format, image.size, dict(image.getexif())) == ("PNG", (96, 128), {})
    assert SECRET not in inbox_bytes()


def test_another_picture_than_the_classified_one_is_refused(running):
    answer = running.classify(photo(1)).json()["answer"]
    response = running.report(answer, picture=base64.b64encode(photo(2)).decode())
    assert response.status_code == 422
    assert "not the one that was classified" in response.json()["error"]["detail"]
    assert not inbox.DATABASE.exists() or stored() == []


def test_a_thousand_reports_of_a_script_change_nothing_but_a_counter(running):
    """The script has a session and the token; what stops it is the limit of its address."""
    headers = running.headers()
    answers = []
    for number in range(6):
        files = {"image": ("p", photo(number))}
        answers.append(running.client.post("/classify", files=files, headers=headers).json()["answer"])
    statuses = []
    before = ""
    for number in range(1005):
        body = {"answer": answers[number % 6], "label": "neutral"}
        statuses.append(running.client.post("/report", json=body, headers=headers).status_code)
        if number == 4:
            before = dump()
    assert statuses[:5] == [201] * 5
    assert set(statuses[5:]) == {429}
    assert dump() == before
    with inbox.connect() as database:
        assert inbox.counters(database) == {"refused": 1000}


def dump() -> str:
    with inbox.connect() as database:
        return "\n".join(line for line in database.iterdump() if "counters" not in line)


@pytest.mark.parametrize("path", ["/classify", "/report"])
@pytest.mark.parametrize(
    "change",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"x-csrf-token": "0" * 64},
        {"host": "evil.example"},
        {"cookie": "nsfw_demo=bm8.bm8"},
    ],
)
def test_cross_site_posts_get_403(running, path, change):
    headers = running.headers() | change
    if path == "/classify":
        response = running.client.post(path, files={"image": ("p", colour("red"))}, headers=headers)
    else:
        response = running.client.post(path, json={"answer": "a", "label": "neutral"}, headers=headers)
    assert response.status_code == 403
    assert not paths.INBOX.exists()


def test_without_origin_session_or_token_nothing_is_answered(running):
    files = {"image": ("p", colour("red"))}
    assert httpx.post(f"{running.url}/classify", files=files).status_code == 403
    assert httpx.post(f"{running.url}/classify", files=files, headers={"origin": running.url}).status_code == 403
    assert httpx.post(f"{running.url}/report", json={}, headers={"origin": running.url}).status_code == 403
    assert httpx.get(running.url, headers={"host": "evil.example"}).status_code == 403


def test_another_session_cannot_report_an_answer(running):
    answer = running.classify(photo(1)).json()["answer"]
    running.client.cookies.clear()
    response = running.report(answer)
    assert (response.status_code, response.json()["error"]["code"]) == (410, "too_old")
    assert running.report("nobody-got-this").status_code == 410


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "empty"),
        (b"<html>", 422, "not_a_picture"),
        (photo()[:400], 422, "broken"),
        (b"x" * 2**20 * 17, 413, "too_large"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_reason(running, data, status, code):
    response = running.classify(data)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["detail"]


def test_two_pictures_at_once_and_a_body_that_is_no_report_are_refused(running):
    files = [("image", ("a", colour("red"))), ("image", ("b", colour("red")))]
    response = running.client.post("/classify", files=files, headers=running.headers())
    assert (response.status_code, response.json()["error"]["code"]) == (400, "one_picture")
    for body in (b"{", b"[]", b'{"answer": 1, "label": "neutral"}', b'{"answer": "a", "label": "b", "more": 1}'):
        response = running.client.post("/report", content=body, headers=running.headers())
        assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed")
    huge = b'{"answer": "' + b"a" * 2**20 * 33
    assert running.client.post("/report", content=huge, headers=running.headers()).status_code == 413


def test_a_label_that_is_none_of_the_project_is_refused(running):
    answer = running.classify(photo(1)).json()["answer"]
    response = running.report(answer, label="cats")
    assert response.status_code == 422
    assert "must be one of drawings" in response.json()["error"]["detail"]


def test_the_page_loads_nothing_from_elsewhere_and_says_what_it_keeps(running):
    response = running.client.get("/")
    assert response.headers["content-security-policy"] == policy.SERVED
    assert "unsafe-inline" not in response.headers["content-security-policy"]
    assert "SameSite=strict" in response.headers["set-cookie"]
    for address in re.findall(r'(?:src|href)="([^"]*)"', response.text):
        assert address == "data:," or address.startswith(("/assets/", "#")), address  # "data:,": no icon
    assert "deleted after 30 days" in response.text
    assert "Nothing leaves this machine" in response.text


def test_an_animation_tells_which_frame_decided(running):
    frames = [Image.new("RGB", (64, 48), name) for name in ("lime", "red", "lime")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    document = running.classify(buffer.getvalue()).json()
    assert (document["frames"], document["deciding_frame"], document["decision"]) == (3, 1, "unsafe")
