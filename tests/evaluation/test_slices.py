import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import slices
from pipeline.evaluation.recall import wilson

NAMES, UNSAFE = ("a", "b", "c"), ("b", "c")


def catalog(**changed: object) -> pd.DataFrame:
    columns = {
        "sha256": ["p", "q", "r", "s"],
        "sources": [["one"], ["one", "two"], ["two"], ["two"]],
        "width": [100, 256, 1024, 4000],
        "height": [100, 256, 1024, 100],
        "format": ["JPEG", "JPEG", "PNG", "JPEG"],
    }
    return pd.DataFrame(columns | changed)


def members(tags: dict[str, str]) -> pd.DataFrame:
    return slices.memberships(catalog(), pd.DataFrame({"sha256": list(tags), "slice": list(tags.values())}))


JUDGED = pd.DataFrame({"sha256": list("pqrs"), "label": list("abcb"), "said": list("abab")})


def test_a_picture_lies_in_each_of_its_slices():
    rows = members({"p": "night", "elsewhere": "day"})
    of = {family: part.groupby("slice")["sha256"].agg("".join).to_dict() for family, part in rows.groupby("family")}
    assert of["source"] == {"one": "pq", "two": "qrs"}
    assert of["format"] == {"JPEG": "pqs", "PNG": "r"}
    assert of["tag"]["night"] == "p"


def test_sizes_are_cut_at_256_and_1024_squared():
    pixels = pd.Series([1, 256 * 256 - 1, 256 * 256, 1024 * 1024 - 1, 1024 * 1024])
    assert slices.size_class(pixels).tolist() == ["small", "small", "medium", "medium", "large"]


def test_figures_of_each_slice_by_hand():
    rows = slices.measure(JUDGED, members({"p": "night", "elsewhere": "day"}), NAMES, UNSAFE, 0.95)
    by_slice = {(row["family"], row["slice"]): row for row in json.loads(json.dumps(rows, allow_nan=False))}
    two = by_slice["source", "two"]
    assert (two["pictures"], two["unsafe_pictures"]) == (3, 3)
    assert two["accuracy"] == two["unsafe_recall"] == pytest.approx(2 / 3)
    assert two["unsafe_recall_interval"] == wilson(2, 3, 0.95)
    assert two["false_positive_rate"] is two["false_positive_rate_interval"] is None  # all three are unsafe
    one = by_slice["source", "one"]
    assert (one["false_positive_rate"], one["false_positive_rate_interval"]) == (0.0, wilson(0, 1, 0.95))
    night = by_slice["tag", "night"]
    assert (night["pictures"], night["accuracy"]) == (1, 1.0)
    assert night["unsafe_recall"] is night["unsafe_recall_interval"] is None
    assert ("tag", "day") not in by_slice  # no test picture
    assert [key[0] for key in by_slice] == sorted((key[0] for key in by_slice), key=slices.FAMILIES.index)


def test_an_unsafe_class_called_another_is_caught_but_not_right():
    judged = JUDGED.copy()
    judged["said"] = list("acca")
    rows = slices.measure(judged, members({}), NAMES, UNSAFE, 0.95)
    one = next(row for row in rows if row["slice"] == "one")
    assert (one["accuracy"], one["unsafe_recall"]) == (0.5, 1.0)


@given(st.integers(0, 10_000))
def test_the_slices_of_a_family_without_overlap_add_up(seed):
    rng = np.random.default_rng(seed)
    judged = pd.DataFrame({"sha256": range(30), "label": rng.choice(NAMES, 30), "said": rng.choice(NAMES, 30)}).astype(
        {"sha256": "str"}
    )
    member = pd.DataFrame({"sha256": judged["sha256"], "family": "tag", "slice": rng.choice(["x", "y", "z"], 30)})
    rows = slices.measure(judged, member, NAMES, UNSAFE, 0.95)
    assert sum(row["pictures"] for row in rows) == 30
    right = sum(row["accuracy"] * row["pictures"] for row in rows)
    assert right == pytest.approx((judged["label"] == judged["said"]).sum())
    caught = sum((row["unsafe_recall"] or 0) * row["unsafe_pictures"] for row in rows)
    assert caught == pytest.approx((judged["label"].isin(UNSAFE) & judged["said"].isin(UNSAFE)).sum())


def row(family: str, name: str, unsafe: int, recall: float | None) -> dict:
    return {"family": family, "slice": name, "unsafe_pictures": unsafe, "unsafe_recall": recall}


def test_the_gap_is_the_widest_among_slices_that_are_large_enough():
    rows = [
        row("source", "one", 30, 0.9),
        row("source", "two", 20, 0.8),
        row("source", "tiny", 19, 0.0),
        row("tag", "night", 25, 0.5),
        row("tag", "day", 40, 0.95),
        row("tag", "safe", 0, None),
    ]
    assert slices.gap(rows, 20) == {"family": "tag", "best": "day", "worst": "night", "gap": pytest.approx(0.45)}
    assert slices.gap(rows, 1)["worst"] == "tiny"
    assert slices.gap(rows, 30) is None  # no family has two
    assert slices.gap([], 1) is None


def test_accuracy_is_of_the_classes_that_the_model_knows_and_unsafe_recall_of_all():
    """It knows a alone, and says x (safe) or y (unsafe) of the rest: p and r are right, q (of b) is caught."""
    names, unsafe = ("a", "x", "y", "b", "c"), ("b", "c", "y")
    judged = pd.DataFrame({"sha256": list("pqrs"), "label": list("abac"), "said": list("ayax")})
    rows = slices.measure(judged, members({}), names, unsafe, 0.95, known=("a",))
    by_slice = {row["slice"]: row for row in rows}
    assert (by_slice["one"]["pictures"], by_slice["one"]["accuracy"], by_slice["one"]["unsafe_recall"]) == (2, 1.0, 1.0)
    assert by_slice["one"]["accuracy_interval"] == wilson(1, 1, 0.95)
    assert by_slice["two"]["unsafe_recall"] == 0.5
    judged["label"] = list("bbcc")
    for row in slices.measure(judged, members({}), names, unsafe, 0.95, known=("a",)):
        assert (row["accuracy"], row["accuracy_interval"]) == (None, None)
