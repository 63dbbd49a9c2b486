"""What every page has to satisfy in a real browser, and its screenshot: SCREENSHOTS=folder keeps them to look at."""

import os
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe

# Runs wherever it is taken for markup or script; long without a break; written from right to left; over several lines.
HOSTILE = '<img src=x onerror="window.ran=1">\'"&<script>window.ran=1</script>'
LONG = "W" * 150
NAMES = (HOSTILE, LONG, "\u202eevil\u202c עברית", "two\nlines of {{ braces }} ${and} $dollars")
WIDTHS = (1280, 390)

# Pairs of things to read or to press that lie on one another, by more than a line's height reaches into the next one.
# What floats above the page by design (a bar, a dialog) is compared with what floats alone.
OVERLAPS = """() => {
  const seen = "button, a, input, select, textarea, th, td, h1, h2, h3, p, li, dt, dd, figcaption, summary, label, " +
    ".tag, .thumb";
  const floats = (node) => node.tagName === "DIALOG" || ["fixed", "sticky"].includes(getComputedStyle(node).position);
  const layer = (node) => { while (node && !floats(node)) { node = node.parentElement; } return node; };
  const within = document.querySelector("dialog[open]") || document;
  const boxes = Array.from(within.querySelectorAll(seen))
    .filter((node) => node.checkVisibility({visibilityProperty: true, contentVisibilityAuto: true}))
    .filter((node) => !node.closest(".hidden-text, .skip"))
    .flatMap((node) => Array.from(node.getClientRects(), (box) => ({node: node, box: box, layer: layer(node)})))
    .filter((one) => one.box.width > 1 && one.box.height > 1).sort((one, other) => one.box.top - other.box.top);
  const text = (node) => node.tagName + "." + node.className + " " + (node.innerText || node.value || "").slice(0, 40);
  const found = [];
  boxes.forEach((one, index) => {
    for (let next = index + 1; next < boxes.length && boxes[next].box.top < one.box.bottom - 3; next += 1) {
      const other = boxes[next];
      if (one.layer !== other.layer || one.node.contains(other.node) || other.node.contains(one.node)) { continue; }
      const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const high = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      if (wide > 3 && high > 5) { found.push(text(one.node) + " / " + text(other.node)); }
    }
  });
  return found.slice(0, 5);
}"""
# What reaches past the right edge, and is not in a box that scrolls by itself.
TOO_WIDE = """(width) => Array.from(document.body.querySelectorAll("*"))
  .filter((node) => node.getBoundingClientRect().right > width + 1 && node.checkVisibility()
    && !node.parentElement.closest(".wide, .hidden-text"))
  .map((node) => node.tagName + "." + node.className + " " + (node.innerText || "").slice(0, 40)).slice(0, 4)"""


def opened(browser: Any, width: int, expected: str = "nothing") -> Any:
    """A new page that notes every error but the `expected` one, and every request that leaves this machine."""
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    page.complaints = []

    def note(message: Any) -> None:
        if message.type == "error" and expected not in message.text:
            page.complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.complaints.append(request.url) if foreign(request.url) else None)
    page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
    return page


def foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:"))


def check(page: Any, name: str) -> None:
    """Fail unless nothing runs, overlaps or is wider than the screen, and axe finds no serious fault."""
    width = page.viewport_size["width"]
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name.replace(' ', '-')}-{width}.png", full_page=True)
    problems = {
        "ran": page.evaluate("window.ran"),
        "complaints": page.complaints,
        "wider than the screen": page.evaluate(TOO_WIDE, width),
        "overlap": page.evaluate(OVERLAPS),
        "axe": [
            (fault["id"], [node["html"][:120] for node in fault["nodes"][:3]])
            for fault in Axe().run(page).response["violations"]
            if fault["impact"] in {"serious", "critical"}
        ],
    }
    faults = {about: problem for about, problem in problems.items() if problem}
    assert not faults, f"{name}: {faults}"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, name
