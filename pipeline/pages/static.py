"""Pages that are one file: styles and scripts inline, allowed by their digests; nothing is loaded.

    html = static.render(pages, "duplicates.html", scripts=[static.asset("pictures.js")], title="Duplicates")

The same templates and the same stylesheet serve pages over HTTP (pipeline/pages/serving.py).
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.pages import policy

ASSETS = Path(__file__).parent / "assets"


@cache
def asset(name: str) -> str:
    """Return the text of one of this room's assets: `style.css`, `pictures.js`."""
    return (ASSETS / name).read_text(encoding="utf-8")


def render(
    pages: jinja2.Environment,
    template: str,
    *,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    images: bool = True,
    **values: Any,
) -> str:
    """Return a whole page of one of `pages`' templates.

    Args:
        pages: Of `templating.environment`.
        template: Its name; it extends `base.html`.
        styles: Of the page itself, beside the common stylesheet.
        scripts: What runs at its end, in this order.
        images: Whether it holds pictures, as `data:` addresses.
        values: What the template names.

    """
    styles = [asset("style.css"), *styles]
    content_policy = policy.policy(styles, scripts, images=images)
    # Of our own assets: in a style or script element nothing is escaped.
    page = {
        "policy": content_policy,
        "styles": [Markup(text) for text in styles],  # noqa: S704
        "scripts": [Markup(text) for text in scripts],  # noqa: S704
        "style_urls": [],
        "script_urls": [],
    }
    return pages.get_template(template).render(page=page, **values)
