"""The model card as an HTML page."""

from markupsafe import Markup

from pipeline.pages import static, templating

_STYLE = """
main { max-width: 68rem; }
h2 { margin-top: 2.2rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
tbody tr:nth-child(even) { background: #fafbfc; }
.wide td { min-width: 3.5rem; }
"""


def html(markdown: str, title: str = "Model card") -> str:
    """Return the card as a whole page: no scripts, no external resources; raw HTML in it is shown as text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = body.replace(' style="text-align:right"', ' class="number"')  # the policy lets no inline style through
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")
    # Markup, as markdown-it has escaped what it was given.
    content = Markup(body)  # noqa: S704
    return static.render(
        templating.environment(), "document.html", styles=[_STYLE], images=False, title=title, body=content
    )
