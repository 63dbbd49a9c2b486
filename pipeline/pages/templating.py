"""Jinja templates: every value is escaped, and a name that nobody gave is an error.

    pages = templating.environment(Path(__file__).parent / "templates")
    pages.get_template("queue.html").render(...)

A room's template begins with `{% extends "base.html" %}` and fills `title`, `content` and, if it likes, `head`,
`nav` and `scripts`. `blurred(...)` of pipeline/pages/pictures.py is known in all of them.
"""

from pathlib import Path

import jinja2

from pipeline.pages import pictures

_TEMPLATES = Path(__file__).parent / "templates"


def environment(*folders: Path) -> jinja2.Environment:
    """Return what renders the templates of `folders`, and this room's beneath them."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["blurred"] = pictures.blurred
    made.filters["count"] = _count
    made.filters["percent"] = _percent
    return made


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"
