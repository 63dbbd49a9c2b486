"""A thousand decisions by two at once, while the server is killed and started again five times.

By clients that do what the page's scripts do, with each test run; by two real browsers, by keyboard, once a week.
"""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from pipeline.core import paths
from pipeline.review import acts
from pipeline.review.store import Store
from tests.support.review_project import change, make, server, wait_for

PICTURES = 1002  # two of them in conflict, in no queue of suspicions
KILLS = 5


class Browser(threading.Thread):
    """Claims, decides and resends as the page's scripts do: what is not confirmed is sent again, in order."""

    def __init__(self, url: str, name: str, over: threading.Event) -> None:
        super().__init__(name=name)
        self.url, self.over = url, over
        self.outbox: list[dict[str, object]] = []
        self.confirmed: list[str] = []
        self.refused: list[dict[str, str]] = []
        self.claimed: list[str] = []
        self.failures = 0

    def run(self) -> None:
        with httpx.Client(base_url=self.url, headers={"origin": self.url.rstrip("/")}, timeout=5.0) as self.http:
            self.token = self.enter()
            empty = 0
            while empty < 3 and not self.over.is_set():
                claimed = self.ask("/api/claim", queue="suspicions", most=12, shown=[])["sha256"]
                empty = 0 if claimed else empty + 1
                self.claimed += claimed
                for sha256 in claimed:
                    one = f"{self.name}-decides-about-{sha256[:16]}"
                    self.outbox.append({"id": one, "sha256": sha256, "act": "keep", "queue": "suspicions"})
                    self.deliver()
                if not claimed:
                    time.sleep(0.05)

    def enter(self) -> str:
        while True:
            with contextlib.suppress(httpx.TransportError):
                token = self.csrf()
                answer = self.http.post("/enter", data={"csrf_token": token, "name": self.name})
                assert answer.status_code == 303
                return self.csrf()
            time.sleep(0.02)

    def csrf(self) -> str:
        return self.http.get("/").text.partition('name="csrf-token" content="')[2].partition('"')[0]

    def ask(self, path: str, **message: object) -> dict:
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = self.http.post(path, json=message, headers={"x-csrf-token": self.token})
                assert answer.status_code == 200, answer.text
                return answer.json()
            self.failures += 1
            time.sleep(0.02)

    def deliver(self) -> None:
        result = self.ask("/api/acts", acts=self.outbox)
        for act, outcome in zip(self.outbox, result["outcomes"], strict=True):
            if outcome["outcome"] == "saved":
                self.confirmed.append(str(act["sha256"]))
            else:
                self.refused.append(outcome)
        self.outbox = []


@contextlib.contextmanager
def browsers(url: str) -> Iterator[list[Browser]]:
    over = threading.Event()
    both = [Browser(url, name, over) for name in ("ada", "bob")]
    for one in both:
        one.start()
    try:
        yield both
    finally:
        over.set()
        for one in both:
            one.join(60)


@pytest.mark.slow
def test_each_decision_is_there_once_and_none_of_what_the_other_held(project):
    (project / ".dvc").mkdir()
    pictures = make(PICTURES)
    change(reviewers=["ada", "bob"], second_opinion=0.0)
    wanted, chance = set(pictures[2:]), random.Random(5)
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(contextlib.ExitStack())
        process, url = running.enter_context(server())
        port = int(url.rstrip("/").rpartition(":")[2])
        two = stack.enter_context(browsers(url))
        for number in range(1, KILLS + 1):
            wait_until(lambda number=number: len(decided()) >= number * 150 + chance.randrange(20))
            process.kill()
            running.close()
            process, _ = running.enter_context(server(port=port))
        wait_for(url)
        wait_until(lambda: all(not one.is_alive() for one in two), 40.0)
    ada, bob = two
    listed = acts.all_opinions(Store(paths.REVIEW))
    assert ada.failures + bob.failures > 0
    assert ada.refused == bob.refused == []
    assert set(listed) == wanted
    assert [len(several) for several in listed.values()] == [1] * len(wanted)
    for one in two:
        assert sorted(one.confirmed) == sorted(name for name, (only,) in listed.items() if only.reviewer == one.name)
        assert len(set(one.confirmed)) == len(one.confirmed)
    assert set(ada.claimed).isdisjoint(bob.claimed)
    assert min(len(ada.confirmed), len(bob.confirmed)) > 100


@pytest.mark.slow
@pytest.mark.rare
def test_by_two_real_browsers_too(browser, project):
    (project / ".dvc").mkdir()
    pictures = make(PICTURES)
    change(reviewers=["ada", "bob"], second_opinion=0.0)
    with contextlib.ExitStack() as running:
        _, url = running.enter_context(server())
        port = int(url.rstrip("/").rpartition(":")[2])
        pages = {name: entered(browser, url, name) for name in ("ada", "bob")}
        shown: dict[str, set[str]] = {name: set() for name in pages}
        kills, end = 0, time.monotonic() + 1500
        while len(decided()) < PICTURES - 2:
            assert time.monotonic() < end, f"{len(decided())} after {kills} kills"
            for name, page in pages.items():
                shown[name] |= set(page.eval_on_selector_all(".picture", "all => all.map(one => one.dataset.sha256)"))
                for _ in range(12):
                    page.keyboard.press("k")
                if page.locator("#empty:visible, #problem:visible").count() and "all saved" in page.inner_text(
                    "#state"
                ):
                    page.reload()  # it could not ask for more while the server was away
                    page.wait_for_timeout(300)
            if kills < KILLS and len(decided()) >= (kills + 1) * 150:
                running.close()  # kills it
                running.enter_context(server(port=port))
                kills += 1
        for page in pages.values():
            page.get_by_text("all saved").wait_for()
            assert page.locator(".picture.refused").count() == 0
    listed = acts.all_opinions(Store(paths.REVIEW))
    assert kills == KILLS
    assert set(listed) == set(pictures[2:])
    assert [len(several) for several in listed.values()] == [1] * len(listed)
    by_name = {name: {sha for sha, (only,) in listed.items() if only.reviewer == name} for name in pages}
    assert min(map(len, by_name.values())) > 100
    assert shown["ada"].isdisjoint(by_name["bob"])
    assert shown["bob"].isdisjoint(by_name["ada"])


def entered(browser: Any, url: str, name: str) -> Any:
    """A page of the queue of suspicions, in a browser of its own."""
    page = browser.new_context().new_page()
    page.goto(url)
    page.get_by_role("button", name=name).click()
    page.goto(f"{url}queue/suspicions")
    page.wait_for_selector(".picture.current")
    return page


def decided() -> dict[str, object]:
    store = Store(paths.REVIEW)
    try:
        return dict(acts.all_opinions(store))
    finally:
        store.close()


def wait_until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
