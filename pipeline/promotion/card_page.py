"""The model card as an HTML page."""

import base64
import hashlib
from html import escape as escape_html

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


def html(markdown: str, title: str = "Model card") -> str:
    """Return the card as a whole page: no scripts, no external resources; raw HTML in it is shown as text."""
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
