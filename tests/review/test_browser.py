"""The review page in a real browser: decided by keyboard alone, nothing hostile runs, no fault that axe finds."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from pipeline.core import paths, tables
from pipeline.review import acts
from pipeline.review.store import Store
from tests.support.review_project import HOSTILE, change, make, server

pytestmark = pytest.mark.slow


@pytest.fixture
def pictures(project) -> list[str]:
    (project / ".dvc").mkdir()
    listed = make(26, names={2: f"{HOSTILE.replace('/', '')}.png"})
    issues = tables.read_csv(paths.LABEL_ISSUES, ("sha256", "suggested"))
    issues.loc[issues["sha256"] == listed[4], "suggested"] = HOSTILE
    tables.write_csv(issues, paths.LABEL_ISSUES)
    change(reviewers=["ada", "bob"], second_opinion=0.0, page=6)
    return listed


@pytest.fixture
def url(pictures) -> Iterator[str]:
    with server() as (_, address):
        yield address


def opened(browser: Any, url: str, queue: str = "suspicions", name: str = "ada", **options: Any) -> Any:
    """Return the page of a queue, after `name` has come in."""
    page = browser.new_context(**options).new_page()
    page.problems = []
    page.on("console", lambda message: complaint(page, message))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(url)
    page.get_by_role("button", name=name).click()
    page.goto(f"{url}queue/{queue}")
    page.wait_for_selector(".picture.current")
    return page


def complaint(page: Any, message: Any) -> None:
    """Note an error; a picture that was on its way while it was escalated may be refused (410), as it should."""
    if message.type == "error" and "410 (Gone)" not in message.text:
        page.problems.append(message.text)


def saved(page: Any, count: int) -> dict[str, str]:
    """Wait until so many decisions are on disk and nothing is on its way; return them."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        store = Store(paths.REVIEW)
        listed = {sha256: several[-1].act for sha256, several in acts.all_opinions(store).items()}
        store.close()
        if len(listed) == count and page.inner_text("#state") == "all saved":
            return listed
        time.sleep(0.05)
    raise AssertionError(f"{listed}, {page.inner_text('#state')}, {page.problems}")


def current(page: Any) -> str:
    return page.locator(".picture.current").get_attribute("data-sha256")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_a_person_decides_by_keyboard_alone(browser, url, pictures):
    page = opened(browser, url)
    order = pictures[2:]
    assert current(page) == order[0]
    press(page, "k", "5", "d", "u")  # the second is relabelled to the fifth class
    listed = saved(page, 4)
    assert listed == dict(zip(order, ["keep", "sexy", "drop", "unsure"], strict=False))
    assert page.inner_text("#left") == "20"
    press(page, "z")
    assert current(page) == order[3]
    assert len(saved(page, 3)) == 3
    press(page, "Space", "Shift+ArrowRight", "Shift+ArrowRight")
    assert page.locator(".picture.picked").count() == 3
    press(page, "1")  # for all that are selected; that is the page's end, so the next one comes at once
    listed = saved(page, 6)
    assert [listed[one] for one in order[3:6]] == ["drawings"] * 3
    assert current(page) == order[6]
    press(page, "z")
    assert len(saved(page, 3)) == 3
    assert current(page) == order[3]
    press(page, "]", "e")
    assert saved(page, 4)[order[6]] == "escalate"
    escalated = page.locator(f'[data-sha256="{order[6]}"]')
    assert escalated.locator("img").count() == 0
    assert "escalated" in escalated.inner_text()
    press(page, "z")
    assert len(saved(page, 3)) == 3
    escalated.locator("img").wait_for()
    press(page, "r")
    page.keyboard.type("looks drawn, k d z")
    press(page, "Enter", "3")
    saved(page, 4)
    (opinion,) = acts.all_opinions(Store(paths.REVIEW))[order[6]]
    assert (opinion.act, opinion.reason) == (
        "neutral" if opinion.old_label != "neutral" else "keep",
        "looks drawn, k d z",
    )
    press(page, "?")
    assert page.locator("#help").is_visible()
    press(page, "d", "Escape")
    assert not page.locator("#help").is_visible()
    saved(page, 4)
    assert page.problems == []


def test_a_whole_cluster_is_decided_at_once(browser, url, pictures):
    page = opened(browser, url, "conflicts")
    press(page, "c")
    assert page.locator(".picture.picked").count() == 2
    press(page, "4")
    listed = saved(page, 2)
    assert listed == {pictures[0]: "keep", pictures[1]: "porn"}
    page.wait_for_selector("#empty:not([hidden])")


def test_nothing_of_a_hostile_name_or_label_runs(browser, url, pictures):
    page = opened(browser, url)
    for _ in range(3):
        page.wait_for_timeout(150)
        press(page, "ArrowRight")
    page.wait_for_selector("#details h2")
    assert HOSTILE in page.inner_text("#grid")
    press(page, "ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert HOSTILE.replace("/", "")[:12] in page.locator("#details").inner_text()
    press(page, "r")
    page.keyboard.type(HOSTILE)
    press(page, "Enter", "k")
    saved(page, 1)
    page.goto(url)
    assert HOSTILE in page.inner_text("main")
    assert page.evaluate("window.ran") is None
    assert page.problems == []


def test_what_is_escalated_vanishes_with_its_copies_and_from_its_neighbours(browser, url, pictures):
    page = opened(browser, url, "conflicts")
    page.wait_for_selector("#details h2")
    press(page, "e")
    assert page.locator(".picture img").count() == 0  # two copies of one picture
    saved(page, 1)
    page.goto(f"{url}queue/suspicions")
    page.wait_for_selector("#details h2")
    gone = current(page)
    press(page, "e")
    saved(page, 2)
    for _ in range(5):
        press(page, "ArrowRight")
        page.wait_for_selector("#details h2")
        assert page.locator(f'img[src$="{gone}"]').count() == 0
    assert page.problems == []


def test_pictures_are_blurred_until_one_is_held_and_the_browser_remembers_how_much(browser, url, pictures):
    page = opened(browser, url)
    image = page.locator(".picture.current .thumb img")
    look = "element => getComputedStyle(element).filter"
    assert image.evaluate(look) == "blur(12px) grayscale(1)"
    page.keyboard.down("v")
    page.wait_for_timeout(250)
    assert image.evaluate(look) == "none"
    page.keyboard.up("v")
    page.wait_for_timeout(250)
    assert image.evaluate(look) == "blur(12px) grayscale(1)"
    page.get_by_text("Blur", exact=True).click()
    page.locator("input[data-picture=blur]").fill("100")
    page.locator("input[data-picture=grey]").fill("0")
    page.reload()
    page.wait_for_selector(".picture.current")
    assert page.locator(".picture.current .thumb img").evaluate(look) == "blur(20px) grayscale(0)"


def test_the_next_page_is_loaded_before_it_is_needed(browser, url, pictures):
    """The hour of one reviewer, in short: while a page is shown the next one loads, and no picture is waited for."""
    page = opened(browser, url)
    for number in range(4):
        for hidden in ("", "[hidden]") if number < 3 else ("",):
            loaded(page, f"ul.grid{hidden or ':not([hidden])'}")
        for _ in range(6):
            assert page.locator(".picture.current .thumb img").evaluate(IS_LOADED)
            press(page, "k")
    saved(page, 24)
    page.wait_for_selector("#empty:not([hidden])")
    assert page.problems == []


IS_LOADED = "image => image.complete && image.naturalWidth > 0"


def loaded(page: Any, selector: str) -> None:
    """Wait until a page's pictures have been loaded, before anybody asks for them."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        images = page.locator(f"{selector} .picture:not(.saved) .thumb img").all()
        if len(images) == 6 and all(image.evaluate(IS_LOADED) for image in images):
            return
        time.sleep(0.05)
    raise AssertionError(f"{selector}: {page.problems}")


def test_pages_far_behind_leave_once_they_are_saved_and_can_still_be_taken_back(browser, pictures):
    change(page=2)
    with server() as (_, url):
        far_behind(opened(browser, url))


def far_behind(page: Any) -> None:
    first = current(page)
    for count in range(1, 23):
        press(page, "k")
        if count % 2 == 0:
            saved(page, count)
    assert page.locator("#grid .picture").count() <= 2 * (8 + 2)
    assert page.locator(f'[data-sha256="{first}"]').count() == 0
    for count in range(21, -1, -1):
        press(page, "z")
        saved(page, count)
    page.reload()
    page.wait_for_selector(".picture.current")
    assert current(page) == first
    assert page.problems == []


def test_what_is_not_delivered_is_shown_and_sent_again(browser, url, pictures):
    page = opened(browser, url)
    page.context.set_offline(True)
    press(page, "k", "d")
    page.wait_for_selector("#state.warn")
    assert page.inner_text("#state") == "2 not saved yet"
    assert acts.all_opinions(Store(paths.REVIEW)) == {}
    page.context.set_offline(False)
    assert saved(page, 2) == {pictures[2]: "keep", pictures[3]: "drop"}


def test_undelivered_decisions_survive_the_page(browser, url, pictures):
    page = opened(browser, url)
    page.route("**/api/acts", lambda route: route.abort())
    press(page, "k", "d")
    page.wait_for_selector("#state.warn")
    page.unroute("**/api/acts")
    page.goto(f"{url}queue/suspicions")
    page.wait_for_selector(".picture.current")
    saved(page, 2)
    assert current(page) == pictures[4]


def test_two_browsers_never_show_the_same_picture(browser, url, pictures):
    ada, bob = opened(browser, url), opened(browser, url, name="bob")

    def held(page: Any) -> set[str]:
        page.wait_for_timeout(400)
        return set(page.eval_on_selector_all(".picture", "all => all.map(one => one.dataset.sha256)"))

    assert held(ada) & held(bob) == set()
    press(ada, "k", "k")
    press(bob, "d", "d")
    listed = saved(bob, 4)
    assert sorted(listed.values()) == ["drop", "drop", "keep", "keep"]


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_screen(browser, url, pictures, width):
    page = opened(browser, url, viewport={"width": width, "height": 900})
    page.wait_for_selector("#details h2")
    press(page, "k", "e")
    saved(page, 2)
    for step in ("the queue", "help", "the queues", "who are you"):
        if step == "help":
            page.evaluate("document.getElementById('help').showModal()")
        elif step == "the queues":
            page.goto(url)
        elif step == "who are you":
            page.get_by_role("button", name="Leave").click()
            page.wait_for_selector("text=Who are you?")
        faults = [
            (fault["id"], [node["html"][:120] for node in fault["nodes"][:3]])
            for fault in Axe().run(page).response["violations"]
            if fault["impact"] in {"serious", "critical"}
        ]
        assert faults == [], step
        assert page.evaluate("document.documentElement.scrollWidth") <= width, step
    assert page.problems == []


def test_after_a_while_of_looking_the_page_asks_for_a_pause(browser, pictures):
    change(pause_minutes=0.02)
    with server() as (_, url):
        page = opened(browser, url)
        assert page.locator("#pause").is_hidden()
        for _ in range(8):
            page.wait_for_timeout(250)
            press(page, "ArrowRight")
        page.locator("#pause").wait_for()
        page.get_by_role("button", name="I have paused").click()
        assert page.locator("#pause").is_hidden()
        assert page.problems == []
