"""reports/duplicates.html: the clusters of copies as rows of thumbnails; one file, of limited size for any scrape.

File names and labels come from a scrape; the template escapes them. Pictures are blurred until a person shows one, or
all of them. Equal tables give equal bytes.
"""

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.data import shards
from pipeline.duplicates import label_resolution
from pipeline.duplicates.full_resolution import PairInspector
from pipeline.duplicates.messages import describe_match, explain_canonical
from pipeline.images.previews import previews
from pipeline.pages import static, templating

MOST_CLUSTERS, MOST_CONFLICTS, MOST_PICTURES, MOST_COUNTS = 100, 200, 8, 40
_HERE = Path(__file__).parent


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
    parts = [
        (title, len(every), [_cluster(by_cluster[cluster], pictures) for cluster in listed])
        for title, listed, every in (("Conflicts", shown[0], conflicts), ("Largest clusters", shown[1], others))
    ]
    return _document(_counts(resolved, copies, counts), parts)


def _document(counts: list[dict[str, Any]], parts: list[tuple[str, int, list[dict[str, Any]]]]) -> str:
    style, script = ((_HERE / "assets" / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return static.render(
        templating.environment(_HERE / "templates"),
        "duplicates.html",
        styles=[style],
        scripts=[static.asset("pictures.js") + script],
        counts=counts,
        parts=parts,
    )


def _counts(resolved: pd.DataFrame, copies: pd.DataFrame, counts: dict[str, Any]) -> list[dict[str, Any]]:
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
    return [
        _table("pictures", [*status.items(), *aside], "catalogued"),
        _table("near copies", near["sha256"].map(of["status"]).value_counts().items(), "pictures"),
        _table("near copies, matched by", matches.value_counts().items(), "pictures"),
        _table("near copies, by source", near["source"].value_counts(sort=False).items(), "pictures"),
        _table("exact copies, by source", exact["source"].value_counts(sort=False).items(), "files"),
        _table("near copies, by labels", pairs.value_counts(sort=False).items(), "pictures"),
    ]


def near_copy_rows(copies: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of near copies, without the representative of a cluster that has no canonical picture.

    `original`: the picture that each is a copy of: the canonical one, or the representative if there is none.
    """
    near = copies[copies["kind"] == "near"]
    near = near.assign(original=near["kept"].fillna(near["representative"]))
    return near[near["sha256"] != near["original"]]


def _table(title: str, rows: Iterable[tuple[Any, Any]], unit: str) -> dict[str, Any]:
    ordered = sorted(((str(name), int(number)) for name, number in rows), key=lambda row: (-row[1], row[0]))
    total = sum(number for _, number in ordered)
    more = max(len(ordered) - MOST_COUNTS, 0)
    return {"title": title, "rows": ordered[:MOST_COUNTS], "more": more, "unit": unit, "total": total}


def _cluster(rows: pd.DataFrame, pictures: dict[str, bytes | None]) -> dict[str, Any]:
    figures = [_figure(row, pictures.get(row["sha256"])) for row in rows.head(MOST_PICTURES).to_dict("records")]
    return {
        "name": rows["cluster"].iloc[0],
        "size": len(rows),
        "why": explain_canonical(rows),
        "figures": figures,
        "more": max(len(rows) - MOST_PICTURES, 0),
    }


def _figure(row: Mapping[Any, Any], picture: bytes | None) -> dict[str, Any]:
    escalated = row["status"] == label_resolution.ESCALATED
    offered = [f"offered: {row['offered']}"] if row["offered"] else []
    size = f"{row['width']} × {row['height']}, quality {row['quality']:.2f}"
    return {
        "sha256": row["sha256"],
        "status": row["status"],
        "labels": ", ".join(row["labels"]),
        "lines": [size, describe_match(row), *offered],
        "canonical": row["status"] == label_resolution.CANONICAL,
        "source": None if picture is None else f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}",
        "missing": "escalated: not shown" if escalated else "no longer decodes",
    }
