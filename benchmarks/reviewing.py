"""One reviewer at `nsfw review`, by keyboard in a real browser (Debian's Chromium): decisions a minute, and waits.

    python benchmarks/reviewing.py hour [--decisions 3600] [--pace 0.25] [--latency 100]
    python benchmarks/reviewing.py paint [--candidates 100000]
    python benchmarks/reviewing.py sample [--rows 78] [--pace 0.25] [--queue NAME] [--truth CSV]

hour     in a generated project. A decision every `pace` seconds, at most; each request takes `latency` ms longer, as to
         a server that is far away. A decision waited if its picture was not there when its turn came.
         The peer asks for one picture when the one before it is decided, as a plain page would.
paint    in a generated project with so many suspicious labels, and, as the peer, with 100: milliseconds until the
         browser paints something, and until the first picture is there; medians of five loads.
sample   in a project after `dvc repro audit`: decides the first rows of a queue as a csv of path, true_label says
         (empty: drop the picture); its paths are those of the scrape.
"""

import argparse
import contextlib
import csv
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Page, sync_playwright

from pipeline.core import paths
from pipeline.data import sightings
from pipeline.params.root import load_params

ROOT = Path(__file__).parents[1]
# Of the card whose turn it is: its picture, whether that has been loaded, and what the server says of the decisions.
NOW = """() => {
  const card = document.querySelector(".picture.current:not(.decided)"), image = card && card.querySelector("img");
  return {sha256: card ? card.dataset.sha256 : "", label: card ? card.dataset.label : "",
    loaded: Boolean(image && image.complete && image.naturalWidth), state: document.getElementById("state").textContent,
    over: !document.getElementById("empty").hidden};
}"""
ONE_AT_A_TIME = """async ([decisions]) => {
  const token = document.querySelector("meta[name=csrf-token]").content, begun = performance.now();
  const post = async (path, body) => (await fetch(path, {method: "POST", body: JSON.stringify(body),
    headers: {"content-type": "application/json", "x-csrf-token": token}})).json();
  for (let number = 0; number < decisions; number += 1) {
    const [sha256] = (await post("/api/claim", {queue: "suspicions", most: 1, shown: []})).sha256;
    const image = new Image();
    await new Promise((done) => { image.onload = done; image.src = "/thumbnails/" + sha256; });
    const id = "one-at-a-time-" + String(number).padStart(8, "0");
    const act = {id: id, sha256: sha256, act: "keep", queue: "suspicions", reason: "", undo: false};
    await post("/api/acts", {acts: [act]});
  }
  return (performance.now() - begun) / 1000;
}"""


class Work(NamedTuple):
    """What was done: decisions, how many of them waited, the longest wait and the whole in seconds."""

    decisions: int
    waited: int
    longest: float
    seconds: float

    @property
    def rate(self) -> float:
        """Decisions a minute."""
        return 60 * self.decisions / self.seconds


@contextlib.contextmanager
def review_page(latency: float, name: str = "") -> Iterator[tuple[Page, str]]:
    """`nsfw review` of the working directory, and a browser in which somebody has come in; yields page and address."""
    command = [sys.executable, "-c", "from pipeline.cli.console import main; main()", "review", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        url = re.findall(r"http://\S+/", process.stdout.readline() if process.stdout else "")[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(url)
            if name:
                page.get_by_role("button", name=name).click()
            delay = {"offline": False, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1}
            page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", delay)
            yield page, url
            browser.close()
    finally:
        process.terminate()
        process.wait()


def decide(page: Page, decisions: int, pace: float, key_of: Callable[[dict[str, Any]], str]) -> Work:
    """Press the key that `key_of` names for the current picture, every `pace` seconds; wait where it is not there."""
    page.wait_for_selector(".picture.current img")
    page.wait_for_timeout(2000)  # the first page: everybody waits for that one
    begun, waited, longest, done = time.perf_counter(), 0, 0.0, 0
    for number in range(decisions):
        time.sleep(max(0.0, begun + number * pace - time.perf_counter()))
        now, since = page.evaluate(NOW), time.perf_counter()
        waited += not now["loaded"]
        while not now["loaded"] and not now["over"]:
            page.wait_for_timeout(5)
            now = page.evaluate(NOW)
        if now["over"]:
            break
        longest = max(longest, time.perf_counter() - since)
        page.keyboard.press(key_of(now))
        done += 1
    seconds = time.perf_counter() - begun
    page.get_by_text("all saved").wait_for()
    return Work(done, waited, longest, seconds)


def hour(decisions: int, pace: float, latency: float) -> None:
    """Measure in a generated project; print a table and the ratios."""
    single = max(decisions // 20, 20)
    with generated(decisions + single), review_page(latency) as (page, url):
        page.goto(f"{url}queue/suspicions")
        paced = decide(page, decisions, pace, lambda _: "k")
        page.goto(url)
        alone = Work(single, single, 0.0, page.evaluate(ONE_AT_A_TIME, [single]))
    print(f"{'':<22}{'decisions':>10}{'a minute':>10}{'waited':>8}")
    print(f"{'nsfw review':<22}{paced.decisions:>10,}{paced.rate:>10.0f}{paced.waited:>8}")
    print(f"{'one at a time':<22}{alone.decisions:>10,}{alone.rate:>10.0f}{alone.waited:>8}")
    print(f"the longest wait for a picture: {1000 * paced.longest:.0f} ms; requests {latency:g} ms longer each")
    figures = {"waited": paced.waited / paced.decisions, "rate_to_peer": paced.rate / alone.rate}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def paint(candidates: int) -> None:
    """Measure the first paint with many candidates and with few; print a table and the ratios."""
    medians = {}
    for count in (100, candidates):
        with generated(100, rows=count - 100), review_page(0) as (page, url):
            for path in ("", "queue/suspicions"):
                medians[count, path] = [
                    statistics.median(each) for each in zip(*painted(page, url + path), strict=True)
                ]
    print(f"{'':<22}{'candidates':>12}{'first paint':>13}{'picture':>9}   (ms)")
    for (count, path), (first, picture) in medians.items():
        print(f"{path or 'the queues':<22}{count:>12,}{first:>13.0f}{picture:>9.0f}")
    ratios = {
        path or "queues": medians[candidates, path][0] / medians[100, path][0] for path in ("", "queue/suspicions")
    }
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


def painted(page: Page, url: str) -> Iterator[tuple[float, float]]:
    """Yield milliseconds to the first paint and to the first picture (on a page without pictures: to its end)."""
    for _ in range(5):
        page.goto(url)
        if "queue" in url:
            page.wait_for_selector(".picture.current img")
            page.wait_for_function("() => document.querySelector('.picture.current img').naturalWidth > 0")
        page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
        now = "[performance.getEntriesByName('first-contentful-paint')[0].startTime, performance.now()]"
        first, end = page.evaluate(now)
        yield first, end


@contextlib.contextmanager
def generated(pictures: int, rows: int = 0) -> Iterator[None]:
    """Work in a project of so many pictures that the audit contradicts, and `rows` more that only the tables know."""
    sys.path.insert(0, str(ROOT))
    from tests.support import review_project

    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        shutil.copyfile(ROOT / "params.yaml", "params.yaml")
        Path(".dvc").mkdir()
        review_project.make(pictures + 2, rows=rows)
        yield


def sample(rows: int, pace: float, queue: str, truth_csv: Path) -> None:
    """Decide the first rows of a queue as the truth says."""
    names = load_params().labels.names
    with truth_csv.open(encoding="utf-8", newline="") as opened:
        truth = {row["path"]: row["true_label"] for row in csv.DictReader(opened)}
    seen = sightings.load(paths.SIGHTINGS).dropna(subset=["sha256"])
    true_label = {sha: truth[origin] for sha, origin in zip(seen["sha256"], seen["origin"], strict=True)}

    def key_of(now: dict[str, Any]) -> str:
        label = true_label[now["sha256"]]
        return "d" if not label else "k" if label == now["label"] else str(names.index(label) + 1)

    with review_page(0) as (page, url):
        page.goto(f"{url}queue/{queue}")
        work = decide(page, rows, pace, key_of)
        finds = page.inner_text("#finds")
    print(
        f"{work.decisions} decisions in {work.seconds:.0f} s, {work.rate:.0f} a minute, {work.waited} waited; {finds}"
    )


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("hour", "paint", "sample"))
    parser.add_argument("--decisions", type=int, default=3600)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=78)
    parser.add_argument("--pace", type=float, default=0.25)
    parser.add_argument("--latency", type=float, default=100.0)
    parser.add_argument("--queue", default="suspicions")
    parser.add_argument("--truth", type=Path, default=Path("tests/sample_truth.csv"), metavar="CSV")
    arguments = parser.parse_args()
    if arguments.what == "hour":
        hour(arguments.decisions, arguments.pace, arguments.latency)
    elif arguments.what == "paint":
        paint(arguments.candidates)
    else:
        sample(arguments.rows, arguments.pace, arguments.queue, arguments.truth)


if __name__ == "__main__":
    main()
