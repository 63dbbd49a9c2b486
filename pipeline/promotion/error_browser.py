"""The error browser: one page of what a version gets wrong, with the confusion matrix as its index.

Pictures are thumbnails of `previews.SIDE` px, blurred and grey until a person shows one, and MOST_PICTURES at most: the
page stays under a few MB, and loads nothing. What comes from a scrape, and from people, is escaped.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation import predictions as table
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evidence.document import Document
from pipeline.pages import static, templating

MOST_PICTURES, MOST_IN_CELL, MOST_MOVED = 300, 12, 10
_SHADES = 5
_FOLDER = Path(__file__).parent

Thumbnails = Callable[[Sequence[str]], Mapping[str, bytes]]  # sha256 to JPEGs; none of a picture that is not here


@dataclass(frozen=True)
class About:
    """What the page is about: the version's name, and its evidence; `moved` are `changed_sides.moved_pictures` rows.

    `slices`: `sha256, family, slice` of test pictures. `against`: what `moved` compares with; "" for nothing.
    """

    title: str
    document: Document
    predictions: pd.DataFrame
    slices: pd.DataFrame
    moved: pd.DataFrame
    against: str
    cases: Sequence[Mapping[str, Any]] = ()


def page(about: About, thumbnails: Thumbnails) -> str:
    """Return the page."""
    test = judged(about.predictions, about.document.match)
    members = _slices_by_picture(about.slices)
    cells = _cells(test, about.document)
    moved = [
        {"side": side, "count": len(rows), "rows": rows.head(MOST_MOVED).to_dict("records")}
        for side, rows in about.moved.groupby("side", sort=False)
    ]
    shown = _chosen(cells, moved, about.cases)
    pictures = {sha: _data_url(content) for sha, content in thumbnails(shown).items()}
    return static.render(
        templating.environment(_FOLDER / "templates"),
        "errors.html",
        styles=[_asset("errors.css")],
        scripts=[static.asset("pictures.js"), _asset("errors.js")],
        title=about.title,
        document=about.document,
        matrix=_matrix(about.document),
        cells=cells,
        moved=moved,
        against=about.against,
        cases=about.cases,
        rows=_slice_rows(about.document),
        names=_filter_names(members, cells, moved),
        members=members,
        pictures=pictures,
    )


def judged(predictions: pd.DataFrame, match: LabelMatch) -> pd.DataFrame:
    """Return `sha256, label, predicted, probability, wrong, margin` of the test pictures.

    `margin`: the probability of the answer less that of the label (0 for a label that the model does not have): how
    sure a wrong answer is.
    """
    test = predictions[predictions["split"] == "test"].reset_index(drop=True)
    answers = table.probabilities(test, match.labels)
    predicted = table.predicted_classes(test, match.labels)
    index = {name: number for number, name in enumerate(match.labels)}
    own = np.array([answers[row, index[name]] if name in index else 0.0 for row, name in enumerate(test["label"])])
    top = answers.max(axis=1) if len(test) else np.zeros(0)
    right = [match.is_right(answer, label) for answer, label in zip(predicted, test["label"], strict=True)]
    columns = {"predicted": predicted, "probability": top, "wrong": ~np.array(right, dtype=bool), "margin": top - own}
    return test[["sha256", "label"]].assign(**columns)


def _cells(test: pd.DataFrame, document: Document) -> list[dict[str, Any]]:
    """Return the cells that have pictures, wrong ones first and by number.

    A cell has label, predicted, count, wrong, rows (the worst).
    In a cell of right answers the worst are those of which the model is least sure.
    """
    order = {name: number for number, name in enumerate(document.match.classes)}
    columns = {name: number for number, name in enumerate(document.labels)}
    cells = []
    for (label, answer), part in test.groupby(["label", "predicted"], sort=False):
        wrong = bool(part["wrong"].iloc[0])
        ranked = part.sort_values(["margin" if wrong else "probability", "sha256"], ascending=[not wrong, True])
        cells.append(
            {
                "id": f"cell-{order[str(label)]}-{columns[str(answer)]}",
                "label": label,
                "predicted": answer,
                "count": len(part),
                "wrong": wrong,
                "rows": ranked.head(MOST_IN_CELL).to_dict("records"),
            }
        )
    return sorted(cells, key=lambda cell: (not cell["wrong"], -cell["count"], cell["id"]))


def _matrix(document: Document) -> list[dict[str, Any]]:
    """Return a row for each class: its name, its total, and cells of id, count and shade (0 to _SHADES, by share)."""
    rows = []
    for number, (name, counts) in enumerate(zip(document.match.classes, document.summary.confusion, strict=True)):
        total = sum(counts)
        cells = [
            {
                "id": f"cell-{number}-{column}",
                "count": count,
                "shade": -(-_SHADES * count // total) if total else 0,
                "right": name == document.labels[column],
                "predicted": document.labels[column],
            }
            for column, count in enumerate(counts)
        ]
        rows.append({"label": name, "total": total, "cells": cells})
    return rows


def _chosen(
    cells: Sequence[Mapping[str, Any]], moved: Sequence[Mapping[str, Any]], cases: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the pictures that are shown, each once, the most important first."""
    groups = [cases, *(group["rows"] for group in moved), *(cell["rows"] for cell in cells)]
    return list(dict.fromkeys(str(row["sha256"]) for rows in groups for row in rows))[:MOST_PICTURES]


def _slices_by_picture(slices: pd.DataFrame) -> dict[str, list[str]]:
    named = slices["family"] + ": " + slices["slice"]
    return {str(sha): names.tolist() for sha, names in named.groupby(slices["sha256"])}


def _filter_names(
    members: Mapping[str, Sequence[str]], cells: Sequence[Mapping[str, Any]], moved: Sequence[Mapping[str, Any]]
) -> list[str]:
    shown = [row["sha256"] for group in (*cells, *moved) for row in group["rows"]]
    return sorted({name for sha in shown for name in members.get(sha, ())})


def _slice_rows(document: Document) -> list[dict[str, Any]]:
    rows = [*document.slices.rows, *document.reports.slices]
    return [{"name": f"{row.family}: {row.slice}", **dict(row)} for row in rows]


def _data_url(content: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


@cache
def _asset(name: str) -> str:
    return (_FOLDER / "assets" / name).read_text(encoding="utf-8")
