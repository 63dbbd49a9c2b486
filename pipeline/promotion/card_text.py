"""Values as Markdown: text of others is escaped; numbers and lists have filters of their own."""

import re
import unicodedata
from collections.abc import Sequence

NOTHING = "n/a"
_MOST_CHARACTERS = 200
_PUNCTUATION = re.compile(r"([!-+./:-@\[-`{-~])")  # all of ASCII but comma and hyphen


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def escape(text: str) -> Markdown:
    """Return anybody's text as one line of Markdown that shows it literally: no markup, link, cell or HTML."""
    visible = "".join(" " if unicodedata.category(sign) in {"Cc", "Zl", "Zp"} else sign for sign in text)
    visible = "".join(sign for sign in visible if unicodedata.category(sign) not in {"Cf", "Cs", "Co", "Cn"})
    line = " ".join(visible.split())
    if len(line) > _MOST_CHARACTERS:
        line = line[:_MOST_CHARACTERS] + "…"
    return Markdown(_PUNCTUATION.sub(r"\\\1", line))


def percent(share: float | None) -> Markdown:
    """Return a share (0..1) as `92.3 %`."""
    return Markdown(NOTHING if share is None else f"{100 * share:.1f} %")


def interval(limits: Sequence[float] | None) -> Markdown:
    """Return two shares (0..1) as `90.1 to 95.4 %`."""
    if limits is None or None in limits:
        return Markdown(NOTHING)
    return Markdown(f"{100 * limits[0]:.1f} to {100 * limits[1]:.1f} %")


def decimal(number: float | None) -> Markdown:
    """Return a number with three decimals."""
    return Markdown(NOTHING if number is None else f"{number:.3f}")


def count(number: float) -> Markdown:
    """Return a number of pictures, whole, with separators."""
    return Markdown(f"{number:,.0f}")


def counts(limits: Sequence[float]) -> Markdown:
    """Return two numbers of pictures as `11,689 to 23,282`."""
    return Markdown(f"{limits[0]:,.0f} to {limits[1]:,.0f}")


def points(share: float) -> Markdown:
    """Return a difference of shares (0..1) in percentage points."""
    return Markdown(f"{100 * share:.1f}")


def listing(names: Sequence[str]) -> Markdown:
    """Return names, comma by comma."""
    return Markdown(", ".join(map(escape, names)))


def figure(value: object) -> Markdown:
    """Return a gate's value or limit, whatever it is, to four digits."""
    if isinstance(value, bool):
        return Markdown("yes" if value else "no")
    if isinstance(value, int | float):
        return Markdown(f"{value:.4g}")
    return Markdown(NOTHING) if value is None else escape(str(value))


def word(text: str) -> Markdown:
    """Return text for a line of shell within a code block: letters, digits, dots, hyphens and underscores alone."""
    return Markdown(re.sub(r"[^0-9A-Za-z._-]", "", text))


FILTERS = {f.__name__: f for f in (percent, interval, decimal, count, counts, points, listing, figure, word)}
