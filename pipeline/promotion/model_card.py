"""The model card, after Mitchell et al., "Model Cards for Model Reporting", 2019: written from the evidence alone.

    text = render(evidence, {"model": "nsfw", "version": "3"})
    page = html(text, "nsfw 3")

The template is docs/model_card.md.j2, the team's to edit. Batch names, tickets and tags are strangers' text: whatever
is put into the card is escaped for Markdown, unless one of the filters here made it.
"""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from html import escape as escape_html
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.promotion.gates import STATUSES

TEMPLATE = Path(__file__).parents[2] / "docs" / "model_card.md.j2"

# What a card may know beside the evidence; each may be lacking. params and speed are mappings, gates rows of gate,
# status, value, limit, reason; size_mb in MB; imported: where a model that was not trained here came from; kept_start:
# whether no epoch of the fine-tuning was better on validation than the model that it began with.
FACTS = (
    "model", "version", "backbone", "commit", "data_md5", "trained_at", "run", "imported", "params", "speed", "size_mb",
    "gates", "kept_start",
)  # fmt: skip

_SCHEMA = 1
_MOST_ROWS, _MOST_CHARACTERS = 50, 200
_PUNCTUATION = re.compile(r"([!-+./:-@\[-`{-~])")  # all of ASCII's but comma and hyphen
_NOTHING = "n/a"
_PLAIN = "plain"


class Ready(str):
    """Text that is Markdown already."""

    __slots__ = ()


def escape(text: str) -> Ready:
    """Return strangers' text as one line of Markdown that says just that: no markup, link, cell or HTML."""
    visible = "".join(" " if unicodedata.category(sign) in {"Cc", "Zl", "Zp"} else sign for sign in text)
    visible = "".join(sign for sign in visible if unicodedata.category(sign) not in {"Cf", "Cs", "Co", "Cn"})
    line = " ".join(visible.split())
    if len(line) > _MOST_CHARACTERS:
        line = line[:_MOST_CHARACTERS] + "…"
    return Ready(_PUNCTUATION.sub(r"\\\1", line))


def percent(share: float | None) -> Ready:
    """Return a share (0..1) as `92.3 %`."""
    return Ready(_NOTHING if share is None else f"{100 * share:.1f} %")


def interval(limits: Sequence[float] | None) -> Ready:
    """Return two shares (0..1) as `90.1 to 95.4 %`."""
    if limits is None or None in limits:
        return Ready(_NOTHING)
    return Ready(f"{100 * limits[0]:.1f} to {100 * limits[1]:.1f} %")


def decimal(number: float | None) -> Ready:
    """Return a number with three decimals."""
    return Ready(_NOTHING if number is None else f"{number:.3f}")


def count(number: float) -> Ready:
    """Return a number of pictures, whole, with separators."""
    return Ready(f"{number:,.0f}")


def counts(limits: Sequence[float]) -> Ready:
    """Return two numbers of pictures as `11,689 to 23,282`."""
    return Ready(f"{limits[0]:,.0f} to {limits[1]:,.0f}")


def points(share: float) -> Ready:
    """Return a difference of shares (0..1) in percentage points."""
    return Ready(f"{100 * share:.1f}")


def listing(names: Sequence[str]) -> Ready:
    """Return names, comma by comma."""
    return Ready(", ".join(map(escape, names)))


def figure(value: object) -> Ready:
    """Return a gate's value or limit, whatever it is, to four digits."""
    if isinstance(value, bool):
        return Ready("yes" if value else "no")
    if isinstance(value, int | float):
        return Ready(f"{value:.4g}")
    return Ready(_NOTHING) if value is None else escape(str(value))


def word(text: str) -> Ready:
    """Return text for a line of shell within a code block: letters, digits, dots, hyphens and underscores alone."""
    return Ready(re.sub(r"[^0-9A-Za-z._-]", "", text))


_FILTERS = {f.__name__: f for f in (percent, interval, decimal, count, counts, points, listing, figure, word)}


def render(evidence: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> str:
    """Return the card as Markdown; `evidence` is pipeline.evidence.collecting's document, `facts` any of FACTS.

    Raises:
        UserError: the evidence is of another version, or the template is missing or broken.
        ValueError: a fact that no card knows.

    """
    if evidence.get("schema") != _SCHEMA:
        raise UserError(
            f"this evidence has schema {evidence.get('schema')}, the model card reads {_SCHEMA}. "
            "Run `dvc repro evaluate`, or write the card with the version of the code that made the evidence."
        )
    known = dict.fromkeys(FACTS) | dict(facts or {})
    if set(known) != set(FACTS):
        raise ValueError(f"no such facts: {', '.join(sorted(set(known) - set(FACTS)))}")
    text = _template().strip() + "\n"
    import jinja2

    # Not autoescape, which is for HTML: `finalize` sees every value that is put out, and escapes it for Markdown.
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
        autoescape=False,  # noqa: S701
    )
    environment.filters.update(_FILTERS)
    try:
        rendered = environment.from_string(text).render(_context(evidence, known))
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise UserError(f"{TEMPLATE}{where}: {error}. Correct the template, or `git checkout` it.") from error
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"


def html(markdown: str, title: str = "Model card") -> str:
    """Return the card as a page of its own: no script, nothing loaded, raw HTML in it shown as text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = body.replace(' style="text-align:right"', ' class="number"')  # the policy lets no inline style through
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape_html(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n"
        "</body>\n</html>\n"
    )


def _finalize(value: object) -> object:
    if value is None:
        return _NOTHING
    return escape(value) if isinstance(value, str) and not isinstance(value, Ready) else value


def _template() -> str:
    try:
        return TEMPLATE.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{TEMPLATE} does not exist. The model card needs the project's docs/: run this from a checkout, "
            "or `git checkout` the file."
        ) from None


def _context(evidence: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    summary, names, unsafe = evidence["summary"], evidence["labels"], evidence["unsafe"]
    members = [place for place, name in enumerate(names) if name in unsafe]
    operating = sorted(evidence["operating_points"].items(), key=lambda item: item[1]["action"] or "")
    distorted = [name for name, row in evidence["robustness"].items() if isinstance(row, Mapping) and "recall" in row]
    stated = [(name, point["at_prevalence"]) for name, point in operating if point["at_prevalence"]]
    gates = sorted(facts["gates"] or (), key=lambda row: STATUSES.index(row["status"]))
    return {
        "evidence": evidence,
        "facts": facts,
        "gates": gates,
        "failed": [row["gate"] for row in gates if row["status"] == "fail"],
        "details": _details(evidence, facts),
        "confidence": Ready(f"{100 * evidence['confidence']:g} %"),
        "unsafe_pictures": sum(evidence["test"]["by_label"][name] for name in unsafe),
        "called_unsafe": sum(row[place] for row in summary["confusion"] for place in members),
        "order": [*unsafe, *(name for name in names if name not in unsafe)],
        "points": operating,
        "stated": stated,
        "prevalence": _prevalence(stated[0][1]) if stated else None,
        "calibrated": _calibrated(evidence["calibration"]),
        # JSON is sorted by name; the undistorted form comes first.
        "forms": [_PLAIN, *(name for name in distorted if name != _PLAIN)],
        "sides": [("raw, as scraped", evidence["raw"]), ("cleaned by people", evidence["cleaned"])],
        "most": _MOST_ROWS,
    }


def _details(evidence: Mapping[str, Any], facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of what the model is, those that are known."""
    speed = facts["speed"] or {}
    rows: list[tuple[str, object]] = [
        ("backbone", facts["backbone"]),
        ("input", Ready(f"{evidence['size']} x {evidence['size']} px, RGB; the picture is squeezed to a square")),
        ("trained at", facts["trained_at"]),
        ("run", facts["run"]),
        ("commit", facts["commit"]),
        ("data (md5 of data.dvc's content)", facts["data_md5"]),
        ("imported from", facts["imported"]),
        ("size", None if facts["size_mb"] is None else Ready(f"{facts['size_mb']:.1f} MB")),
        ("one picture, median", _unit(speed.get("p50_ms"), "ms")),
        ("one picture, 95th percentile", _unit(speed.get("p95_ms"), "ms")),
        ("in batches of 32", _unit(speed.get("pictures_per_second"), "pictures a second")),
        *(facts["params"] or {}).items(),
    ]
    return [
        (name, value if isinstance(value, Ready) else escape(str(value))) for name, value in rows if value is not None
    ]


def _unit(value: float | None, unit: str) -> Ready | None:
    return None if value is None else Ready(f"{value:.1f} {unit}")


def _prevalence(stated: Mapping[str, Any]) -> Ready:
    if "unsafe_share" in stated:
        return Ready(f"{percent(stated['unsafe_share'])} of the pictures are unsafe")
    shares = ", ".join(f"{escape(name)} {percent(share)}" for name, share in stated["shares"].items())
    return Ready(f"the classes' shares are {shares}")


_HELPS = "It makes the probabilities more honest here."
_HELPS_NOT = "It does not make them more honest here: validation and test differ, by chance or in kind."


def _calibrated(found: Mapping[str, Any]) -> Ready:
    """Return what became of the temperature, and whether that was right on test."""
    tested = found.get("held_out")
    if tested is not None and not tested["helps"]:
        return Ready(
            f"No temperature is applied: the one that fits validation best, {tested['fitted']:.3g}, does not lower "
            "log loss and error, beyond chance, of validation pictures that it was not fitted on."
        )
    return Ready(_HELPS if found["ece_after"] < found["ece_before"] else _HELPS_NOT)


_STYLE = """
body { margin: 0; background: #fff; color: #1b1f24; font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.25; }
h2 { margin-top: 2.2rem; padding-bottom: .25rem; border-bottom: 1px solid #d0d7de; font-size: 1.3rem; }
p, li { max-width: 48rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem; border: 1px solid #d0d7de; text-align: left; }
.number { text-align: right; }
th { background: #f3f5f7; }
tbody tr:nth-child(even) { background: #fafbfc; }
.wide td { min-width: 3.5rem; }
code, pre { background: #f3f5f7; font-family: ui-monospace, monospace; font-size: .9em; }
code { padding: .1em .3em; }
pre { padding: .8rem 1rem; overflow-x: auto; }
pre code { padding: 0; }
"""
