"""How Great Expectations' content becomes pages of ours: the `view` of its site's configuration.

Its own view loads styles and scripts from eight hosts, and shows cell values unescaped: a file name from a scrape could
be a script. This one hands the same content (sections of headers, tables, lists, texts) to a template of ours: the
common stylesheet and content policy, every value escaped, no script, nothing from elsewhere.
"""

import string
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from pipeline.pages import static, templating

if TYPE_CHECKING:
    from great_expectations.render import RenderedDocumentContent

_HERE = Path(__file__).parent
# What it shows by icons of a font that is loaded from elsewhere: a class of ours, a mark, a word.
_ICONS = {
    "fa-check-circle": ("good", "✓", "passed"),
    "fa-times": ("bad", "✗", "failed"),
    "fa-exclamation-triangle": ("bad", "⚠", "not checked"),
}
_STATUS = "html_success_icon"  # the icon that has its word beside it
_KINDS = {"ExpectationSuitePageRenderer": "rules", "ValidationResultsPageRenderer": "results"}
_INDEX = {"rules": "../index.html", "results": "../../../../index.html"}


class PageView:
    """What Great Expectations hands a page's content to; it makes one of each section, by its name in `view`."""

    def __init__(self, custom_styles_directory: str | None = None, custom_views_directory: str | None = None) -> None:
        """Take what it offers to every view; there are no such folders."""

    def render(self, document: "RenderedDocumentContent", **_: Any) -> str:
        """Return a page: the rules of a suite, or their results."""
        content = document.to_json_dict()
        kind = _KINDS[content["renderer_type"]]
        return page(
            "data_docs_page.html",
            title=f"{content['expectation_suite_name']}: {kind}",
            index=_INDEX[kind],
            sections=content["sections"],
        )


def page(template: str, **values: Any) -> str:
    """Return a page of this folder's templates."""
    style = (_HERE / "assets" / "data_docs.css").read_text(encoding="utf-8")
    return static.render(_pages(), template, styles=[style], images=False, **values)


def _pages() -> jinja2.Environment:
    made = templating.environment(_HERE / "templates")
    made.filters["sentence"] = sentence
    return made


def sentence(template: Mapping[str, Any]) -> Markup:
    """Return one of its sentences with the values in their places, all escaped; what it styles stands out as code."""
    styling = template.get("styling") or {}
    values = template.get("params") or {}
    shown = {name: _shown(value, name, styling) for name, value in values.items()}
    lines = [string.Template(escape(line.strip())) for line in template["template"].replace("<br>", "\n").splitlines()]
    # A line about something that there is not ("Data asset: None") is left out.
    complete = [line for line in lines if all(values.get(name, "") is not None for name in line.get_identifiers())]
    return Markup("<br>").join(Markup(line.safe_substitute(shown)) for line in complete if line.template)  # noqa: S704 -- each line and value is escaped above


def _shown(value: Any, name: str, styling: Mapping[str, Any]) -> Markup:
    own = (styling.get("params") or {}).get(name) or {}
    if name.endswith("icon"):
        described = " ".join([str(value), *own.get("classes", ())])
        known = next((words for icon, words in _ICONS.items() if icon in described), None)
        if known is None:
            return Markup()  # it says no more than the words beside it
        shade, mark, word = known
        shown = mark if name == _STATUS else f"{mark} {word}"
        return Markup('<span class="mark {}">{}</span>').format(shade, shown)
    if "href" in own.get("attributes", {}):
        return Markup('<a href="{}">{}</a>').format(own["attributes"]["href"], value)
    return Markup("<code>{}</code>").format(value) if "default" in styling else escape(value)
