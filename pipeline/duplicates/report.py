"""reports/duplicates.html: the clusters of copies as rows of thumbnails; one file, of limited size for any scrape.

File names and labels come from a scrape, so they are escaped; a content policy allows only the page's own script
(identified by its digest), and no loading. Pictures are blurred until a person shows one, or all of them. Equal tables
give equal bytes.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from pipeline.data import shards
from pipeline.duplicates import label_resolution
from pipeline.duplicates.full_resolution import PairInspector
from pipeline.duplicates.messages import describe_match, explain_canonical
from pipeline.images.previews import previews

MOST_CLUSTERS, MOST_CONFLICTS, MOST_PICTURES, MOST_COUNTS = 100, 200, 8, 40

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 80rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; } th, td { border: 1px solid #ccc; padding: .2rem .6rem; }
td.n { text-align: right; } tr.total td { font-weight: 600; border-top: 2px solid #888; }
.counts { display: flex; gap: 0 2rem; flex-wrap: wrap; align-items: flex-start; }
.bar { position: sticky; top: 0; z-index: 1; background: #fff; padding: .4rem 0; border-bottom: 1px solid #ccc; }
.bar button { font: inherit; padding: .2rem .7rem; margin-right: .4rem; }
.clusters { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 1rem; }
section { border: 1px solid #ccc; border-radius: 6px; padding: .6rem; scroll-margin-top: 4rem; }
section.wide { grid-column: 1 / -1; }
section { overflow-wrap: anywhere; content-visibility: auto; contain-intrinsic-size: auto 18rem; }
.row { display: flex; flex-wrap: wrap; gap: .6rem; } h2 { margin: 1.5rem 0 .6rem; } h3 { margin: 0; font-size: 1rem; }
figure { margin: 0; width: 11rem; font-size: 12px; overflow-wrap: anywhere; }
figure.kept { outline: 3px solid #00734d; outline-offset: 2px; }
.frame { display: block; width: 100%; height: 96px; overflow: hidden; background: #eee; border: 0; padding: 0; }
button.frame { cursor: pointer; } .frame img { display: block; margin: auto; }
button:focus-visible { outline: 3px solid #0a58ca; }
.blurred img { filter: blur(12px); } .blurred .clear img { filter: none; }
kbd { border: 1px solid #888; border-radius: 3px; padding: 0 .3em; }
code { font-size: 11px; user-select: all; } p.why { margin: 0 0 .3rem; color: #444; }
"""
SCRIPT = """"use strict";
const all = document.getElementById("all");
function toggle() {
  const blurred = document.body.classList.toggle("blurred");
  all.setAttribute("aria-pressed", String(!blurred));
}
function step(by) {
  const sections = Array.from(document.querySelectorAll("section"));
  const now = sections.indexOf(document.activeElement);
  const next = sections[Math.min(Math.max(now + by, 0), sections.length - 1)];
  if (next) { next.focus({preventScroll: true}); next.scrollIntoView({block: "start"}); }
}
all.addEventListener("click", toggle);
document.getElementById("next").addEventListener("mousedown", function (event) { event.preventDefault(); });
document.getElementById("next").addEventListener("click", function () { step(1); });
document.getElementById("previous").addEventListener("mousedown", function (event) { event.preventDefault(); });
document.getElementById("previous").addEventListener("click", function () { step(-1); });
document.addEventListener("click", function (event) {
  const frame = event.target.closest("button.frame");
  if (frame) { frame.setAttribute("aria-pressed", String(frame.classList.toggle("clear"))); }
});
document.addEventListener("keydown", function (event) {
  if (event.ctrlKey || event.metaKey || event.altKey) { return; }
  if (event.key === "b") { toggle(); }
  if (event.key === "n") { step(1); }
  if (event.key === "p") { step(-1); }
});"""


def policy() -> str:
    """Return the page's content policy: its own script by digest, inline styles and pictures, nothing else."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def page(
    resolved: pd.DataFrame,
    copies: pd.DataFrame,
    catalog: pd.DataFrame,
    counts: dict[str, Any],
    inspector: PairInspector,
) -> str:
    """Return the page of `dedupe`'s tables; `counts` as in metrics/dedupe.json."""
    sizes = resolved["cluster"].value_counts()
    grouped = resolved[
        resolved["cluster"].isin(sizes.index[sizes > 1]) | (resolved["status"] == label_resolution.CONFLICT)
    ]
    names = grouped["cluster"].drop_duplicates().sort_values()
    order: list[str] = names.iloc[(-names.map(sizes).astype("int64")).argsort(kind="stable")].tolist()
    in_conflict = set(resolved.loc[resolved["status"] == label_resolution.CONFLICT, "cluster"])
    conflicts = [cluster for cluster in order if cluster in in_conflict]
    others = [cluster for cluster in order if cluster not in in_conflict]
    shown = (conflicts[:MOST_CONFLICTS], others[:MOST_CLUSTERS])
    rows = grouped[grouped["cluster"].isin({*shown[0], *shown[1]})].merge(
        catalog[["sha256", "width", "height", "frame", "quality", "first_seen", *shards.Member._fields[1:]]],
        on="sha256",
    )
    # The canonical picture first, then the others by rank.
    rows = rows.assign(front=(rows["status"] != label_resolution.CANONICAL).astype("int64")).sort_values(
        ["cluster", "front", "rank"]
    )
    first = rows[rows.groupby("cluster").cumcount() < MOST_PICTURES]
    shown_rows = first[first["status"] != label_resolution.ESCALATED]
    members = shards.members_of(shown_rows)
    pictures = dict(
        zip(shown_rows["sha256"], previews(members, inspector.folder, inspector.limits, inspector.cost), strict=True)
    )
    by_cluster = dict(iter(rows.groupby("cluster")))
    body = [_counts(resolved, copies, counts)]
    for title, listed, every in (("Conflicts", shown[0], conflicts), ("Largest clusters", shown[1], others)):
        body.append(f"<h2>{title}: {len(listed):,} of {len(every):,}</h2>")
        sections = "".join(_section(by_cluster[cluster], pictures) for cluster in listed)
        body.append(f'<div class="clusters">{sections}</div>')
    return _document("".join(body))


def _document(body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">'
        f"<title>Duplicates</title><style>{STYLE}</style></head>"
        f'<body class="blurred"><h1>Duplicates</h1>'
        '<p class="bar"><button id="all" aria-pressed="false">Show all pictures <kbd>b</kbd></button>'
        '<button id="previous">Previous <kbd>p</kbd></button><button id="next">Next <kbd>n</kbd></button>'
        "A click on a picture shows that one alone.</p>"
        "<p><code>nsfw duplicates explain SHA256</code> tells more of one picture; docs/dedupe.md has the rules.</p>"
        f"{body}<script>{SCRIPT}</script></body></html>\n"
    )


def _counts(resolved: pd.DataFrame, copies: pd.DataFrame, counts: dict[str, Any]) -> str:
    """Return the tables of totals. All tables of near copies count the same rows, so they have the same total."""
    status = resolved["status"].value_counts().drop(label_resolution.SET_ASIDE, errors="ignore")
    aside = [(f"set aside: {kind}", number) for kind, number in counts["set_aside"].items()]
    exact, near = copies[copies["kind"] == "exact"], near_copy_rows(copies)
    of = resolved.set_index("sha256")
    labels = of["labels"].map(", ".join)
    sides = zip(near["sha256"].map(labels), near["original"].map(labels), strict=True)
    pairs = pd.Series([" ~ ".join(sorted(pair)) for pair in sides], dtype="str")
    # If a cluster's canonical picture is not its representative, the canonical one was matched, not the representative.
    matches = near["how"].where(near["how"] != "", near["original"].map(of["how"]).fillna(""))
    return (
        '<div class="counts">'
        + "".join(
            [
                _table("pictures", [*status.items(), *aside], "catalogued"),
                _table("near copies", near["sha256"].map(of["status"]).value_counts().items(), "pictures"),
                _table("near copies, matched by", matches.value_counts().items(), "pictures"),
                _table("near copies, by source", near["source"].value_counts(sort=False).items(), "pictures"),
                _table("exact copies, by source", exact["source"].value_counts(sort=False).items(), "files"),
                _table("near copies, by labels", pairs.value_counts(sort=False).items(), "pictures"),
            ]
        )
        + "</div><p>A near copy is a picture joined to another one, which is learned from in its place, or, in a "
        "conflict, stands first. An exact copy is a further file with the same bytes.</p>"
    )


def near_copy_rows(copies: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of near copies, without the representative of a cluster that has no canonical picture.

    `original`: the picture that each is a copy of: the canonical one, or the representative if there is none.
    """
    near = copies[copies["kind"] == "near"]
    near = near.assign(original=near["kept"].fillna(near["representative"]))
    return near[near["sha256"] != near["original"]]


def _table(title: str, rows: Iterable[tuple[Any, Any]], unit: str) -> str:
    ordered = sorted(rows, key=lambda row: (-int(row[1]), str(row[0])))
    lines = [f'<tr><td>{_text(name)}</td><td class="n">{number:,}</td></tr>' for name, number in ordered[:MOST_COUNTS]]
    if len(ordered) > MOST_COUNTS:
        lines.append(f"<tr><td colspan=2>and {len(ordered) - MOST_COUNTS:,} more</td></tr>")
    total = sum(int(number) for _, number in ordered)
    lines.append(f'<tr class="total"><td>{unit}</td><td class="n">{total:,}</td></tr>')
    return f"<table><tr><th colspan=2>{_text(title)}</th></tr>{''.join(lines)}</table>"


def _section(rows: pd.DataFrame, pictures: dict[str, bytes | None]) -> str:
    figures = [_figure(row, pictures.get(row["sha256"])) for row in rows.head(MOST_PICTURES).to_dict("records")]
    more = f"<p>and {len(rows) - MOST_PICTURES:,} more</p>" if len(rows) > MOST_PICTURES else ""
    head = f"{len(rows):,} pictures, cluster <code>{_text(rows['cluster'].iloc[0])}</code>"
    wide = ' class="wide"' if len(figures) > 2 else ""
    return (
        f'<section tabindex="-1"{wide}><h3>{head}</h3><p class="why">{_text(explain_canonical(rows))}</p>'
        f'<div class="row">{"".join(figures)}</div>{more}</section>'
    )


def _figure(row: Mapping[Any, Any], picture: bytes | None) -> str:
    escalated = row["status"] == label_resolution.ESCALATED
    frame = f'<div class="frame">{"escalated: not shown" if escalated else "no longer decodes"}</div>'
    if picture is not None:
        image = f'<img loading="lazy" alt="" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
        name = _text(f"show {row['sha256'][:12]}")
        frame = f'<button class="frame" aria-label="{name}" aria-pressed="false">{image}</button>'
    lines = [
        f"<b>{_text(row['status'])}</b> {_text(', '.join(row['labels']))}",
        f"{row['width']} × {row['height']}, quality {row['quality']:.2f}",
        _text(describe_match(row)),
        *([f"offered: {_text(row['offered'])}"] if row["offered"] else []),
        f"<code>{_text(row['sha256'])}</code>",
    ]
    shade = ' class="kept"' if row["status"] == label_resolution.CANONICAL else ""
    return f"<figure{shade}>{frame}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
