"""Content-Security-Policy: what a page may load and run. Nothing inline but what is known by its digest."""

import base64
import hashlib
from collections.abc import Iterable

_NOTHING_ELSE = "base-uri 'none'; object-src 'none'; frame-ancestors 'none'"

SERVED = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    f"form-action 'self'; {_NOTHING_ELSE}"
)


def policy(styles: Iterable[str] = (), scripts: Iterable[str] = (), *, images: bool = True) -> str:
    """Return the policy of a page that is a file: these inline styles and scripts, and pictures within the page.

    `frame-ancestors` is left out, as browsers ignore it in a meta element.
    """
    parts = [
        "default-src 'none'",
        *_sources("style-src", styles),
        *_sources("script-src", scripts),
        *(["img-src data:"] if images else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(parts)


def _sources(directive: str, texts: Iterable[str]) -> list[str]:
    digests = [f"'sha256-{_digest(text)}'" for text in texts]
    return [f"{directive} {' '.join(digests)}"] if digests else []


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
