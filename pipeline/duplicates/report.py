"""reports/duplicates.html: what the copies are, as rows of thumbnails; one file, light whatever the scrape's size.

File names and labels come from a scrape and are escaped; a content policy lets nothing run but the page's own script
(named by its digest), and load nothing. Pictures are blurred until a key is pressed. Equal tables give equal bytes.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from pipeline.duplicates import settling
from pipeline.duplicates.wording import matched, why_kept
from pipeline.images import shards
from pipeline.images.eyes import Eyes
from pipeline.images.previews import previews

MOST_CLUSTERS, MOST_CONFLICTS, MOST_PICTURES, MOST_COUNTS = 100, 200, 8, 40

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 80rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; } th, td { border: 1px solid #ccc; padding: .2rem .6rem; }
td.n { text-align: right; } .counts { display: flex; gap: 2rem; flex-wrap: wrap; align-items: flex-start; }
section { border-top: 1px solid #ccc; padding: .5rem 0; }
section { content-visibility: auto; contain-intrinsic-size: auto 12rem; }
.row { display: flex; flex-wrap: wrap; gap: .6rem; } h2 { margin: 1.5rem 0 .3rem; } h3 { margin: 0; font-size: 1rem; }
figure { margin: 0; width: 11rem; font-size: 12px; overflow-wrap: anywhere; }
figure.kept { outline: 3px solid #00734d; }
.frame { height: 96px; overflow: hidden; background: #eee; } .frame img { display: block; margin: auto; }
.blurred img { filter: blur(12px); } kbd { border: 1px solid #888; border-radius: 3px; padding: 0 .3em; }
code { font-size: 11px; } p.why { margin: 0 0 .3rem; color: #444; }
"""
SCRIPT = """document.addEventListener("keydown", function (event) {
  if (event.key === "b" && !event.ctrlKey && !event.metaKey) { document.body.classList.toggle("blurred"); }
});"""


def policy() -> str:
    """Return the page's content policy: its own script by digest, inline styles and pictures, nothing else."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def page(settled: pd.DataFrame, copies: pd.DataFrame, catalog: pd.DataFrame, counts: dict[str, Any], eyes: Eyes) -> str:
    """Return the page of `dedupe`'s tables; `counts` as in metrics/dedupe.json."""
    sizes = settled["cluster"].value_counts()
    crowds = settled[settled["cluster"].isin(sizes.index[sizes > 1]) | (settled["status"] == settling.CONFLICT)]
    names = crowds["cluster"].drop_duplicates().sort_values()
    order: list[str] = names.iloc[(-names.map(sizes).astype("int64")).argsort(kind="stable")].tolist()
    in_conflict = set(settled.loc[settled["status"] == settling.CONFLICT, "cluster"])
    conflicts = [cluster for cluster in order if cluster in in_conflict]
    others = [cluster for cluster in order if cluster not in in_conflict]
    shown = (conflicts[:MOST_CONFLICTS], others[:MOST_CLUSTERS])
    rows = crowds[crowds["cluster"].isin({*shown[0], *shown[1]})].merge(
        catalog[["sha256", "width", "height", "frame", "quality", "first_seen", *shards.Member._fields[1:]]],
        on="sha256",
    )
    # What is kept first, then what the others were held against.
    rows = rows.assign(front=(rows["status"] != settling.KEPT).astype("int64")).sort_values(
        ["cluster", "front", "rank"]
    )
    first = rows[rows.groupby("cluster").cumcount() < MOST_PICTURES]
    members = [shards.Member(*row) for row in first[list(shards.Member._fields)].itertuples(index=False)]
    pictures = dict(zip(first["sha256"], previews(members, eyes.folder, eyes.limits, eyes.cost), strict=True))
    by_cluster = dict(iter(rows.groupby("cluster")))
    body = [_counts(settled, copies, counts)]
    for title, listed, every in (("Conflicts", shown[0], conflicts), ("Largest clusters", shown[1], others)):
        body.append(f"<h2>{title}: {len(listed):,} of {len(every):,}</h2>")
        body += [_section(by_cluster[cluster], pictures) for cluster in listed]
    return _document("".join(body))


def _document(body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">'
        f"<title>Duplicates</title><style>{STYLE}</style></head>"
        f'<body class="blurred"><h1>Duplicates</h1><p>Press <kbd>b</kbd> to see the pictures, and again to blur them. '
        "<code>nsfw duplicates explain SHA256</code> tells more of one; docs/dedupe.md has the rules.</p>"
        f"{body}<script>{SCRIPT}</script></body></html>\n"
    )


def _counts(settled: pd.DataFrame, copies: pd.DataFrame, counts: dict[str, Any]) -> str:
    status = settled["status"].value_counts().drop(settling.SET_ASIDE, errors="ignore")
    aside = [(f"set aside: {kind}", number) for kind, number in counts["set_aside"].items()]
    near = copies[copies["kind"] == "near"]
    labels = settled.set_index("sha256")["labels"].map(", ".join)
    others = near[near["sha256"] != near["representative"]]
    sides = zip(others["sha256"].map(labels), others["representative"].map(labels), strict=True)
    pairs = pd.Series([" ~ ".join(sorted(pair)) for pair in sides], dtype="str")
    return (
        '<div class="counts">'
        + "".join(
            [
                _table("pictures", [("catalogued", counts["catalogued"]), *status.sort_index().items(), *aside]),
                _table("copies, by kind", copies["kind"].value_counts().sort_index().items()),
                _table("near copies, matched by", near.loc[near["how"] != "", "how"].value_counts().items()),
                _table("near copies, by labels", pairs.value_counts(sort=False).items()),
                _table("copies, by source", copies["source"].value_counts(sort=False).items()),
            ]
        )
        + "</div>"
    )


def _table(title: str, rows: Iterable[tuple[Any, Any]]) -> str:
    ordered = sorted(rows, key=lambda row: (-int(row[1]), str(row[0])))
    lines = [f'<tr><td>{_text(name)}</td><td class="n">{number:,}</td></tr>' for name, number in ordered[:MOST_COUNTS]]
    if len(ordered) > MOST_COUNTS:
        lines.append(f"<tr><td colspan=2>and {len(ordered) - MOST_COUNTS:,} more</td></tr>")
    return f"<table><tr><th colspan=2>{_text(title)}</th></tr>{''.join(lines)}</table>"


def _section(rows: pd.DataFrame, pictures: dict[str, bytes | None]) -> str:
    figures = [_figure(row, pictures.get(row["sha256"])) for row in rows.head(MOST_PICTURES).to_dict("records")]
    more = f"<p>and {len(rows) - MOST_PICTURES:,} more</p>" if len(rows) > MOST_PICTURES else ""
    head = f"{len(rows):,} pictures, cluster <code>{_text(rows['cluster'].iloc[0])}</code>"
    return (
        f'<section><h3>{head}</h3><p class="why">{_text(why_kept(rows))}</p>'
        f'<div class="row">{"".join(figures)}</div>{more}</section>'
    )


def _figure(row: Mapping[Any, Any], picture: bytes | None) -> str:
    image = "no longer decodes"
    if picture is not None:
        image = f'<img loading="lazy" alt="" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
    lines = [
        f"<b>{_text(row['status'])}</b> {_text(', '.join(row['labels']))}",
        f"{row['width']} × {row['height']}, quality {row['quality']:.2f}",
        _text(matched(row)),
        *([f"offered: {_text(row['offered'])}"] if row["offered"] else []),
        f"<code>{_text(row['sha256'])}</code>",
    ]
    shade = ' class="kept"' if row["status"] == settling.KEPT else ""
    return f'<figure{shade}><div class="frame">{image}</div><figcaption>{"<br>".join(lines)}</figcaption></figure>'


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
