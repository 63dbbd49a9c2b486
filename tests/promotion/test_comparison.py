import json

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import UserError
from pipeline.promotion import comparison, promoting
from pipeline.promotion.changed_sides import MOVED_COLUMNS, moved_pictures
from pipeline.promotion.comparison import compare
from pipeline.promotion.pairing import PairedAnswers, pair_answers
from pipeline.registry.evidence_store import Evidence
from tests.support import evidence_documents
from tests.support.versions import NAMES, predictions

pytestmark = pytest.mark.untraced


def evidence_of(frame: pd.DataFrame, version: int = 1, labels=NAMES) -> Evidence:
    document = evidence_documents.evidence(labels=list(labels), unsafe=["porn"])
    return Evidence(version, "e" * 64, "a" * 64, document, {}, frame)


def row(report, figure):
    return next(row for row in report["recall"] if row["figure"] == figure)


def test_two_versions_side_by_side(makes, params):
    makes.version({"drawings": 20, "porn": 10})
    makes.version({"drawings": 20, "porn": 4, "neutral": 7})
    report = compare(params, "1", "challenger")
    assert (report["before"], report["after"], report["findings"]) == (1, 2, [])
    porn = row(report, "recall porn")
    assert (porn["before"], porn["after"], porn["pictures"]) == (0.9, 0.96, 100)
    assert porn["change"] == pytest.approx(0.06)
    assert porn["interval"][0] <= porn["change"] <= porn["interval"][1]
    assert row(report, "recall drawings")["interval"] == [0.0, 0.0]
    assert [each["figure"] for each in report["recall"]][:2] == ["unsafe recall", "macro recall"]
    assert {each["figure"] for each in report["other"]} >= {"calibration error", "size, MB"}
    json.dumps(report, allow_nan=False)


def test_what_changed_sides_the_newly_missed_first(makes, params):
    """Wrong pictures of a class go to the next one: porn to drawings (missed), neutral to porn (withheld)."""
    makes.version({"porn": 2, "neutral": 3})
    makes.version({"porn": 5, "neutral": 1})
    report = compare(params, "1", "2")
    assert [each["side"] for each in report["moved"]] == ["newly missed"] * 3 + ["newly let through"] * 2
    assert list(report["moved"][0]) == list(MOVED_COLUMNS)
    first = report["moved"][0]
    assert (first["label"], first["said_before"], first["said_after"]) == ("porn", "porn", "drawings")
    assert (first["unsafe_before"], first["unsafe_after"]) == (0.9, 0.05)
    text = "\n".join(comparison.lines(report))
    assert "pictures whose likeliest class changed sides: 2 newly let through, 3 newly missed" in text
    back = compare(params, "2", "1")
    assert [each["side"] for each in back["moved"]] == ["newly withheld"] * 2 + ["newly caught"] * 3


def test_it_tells_what_each_threshold_flags(makes, params):
    point = {"threshold": 0.4, "recall": 0.96, "false_positive_rate": 0.03}
    makes.version(document_more={"operating_points": {"unsafe": point | {"at_prevalence": None}}})
    point |= {"threshold": 0.1, "recall": 0.99, "false_positive_rate": 0.25}
    point["at_prevalence"] = {"flagged_per_100000": 28700.4}
    makes.version(document_more={"operating_points": {"unsafe": point}})
    report = compare(params, "1", "2")
    shown = {" ".join(line.split()) for line in comparison.lines(report)}
    assert {
        "threshold 0.4 0.1",
        "flagged, of unsafe 0.96 0.99",
        "flagged, of safe 0.03 0.25",
        "review, of 100,000 - 28,700",
    } <= shown


def test_many_are_cut_on_the_terminal(makes, params):
    makes.version()
    makes.version({"porn": 30})
    lines = comparison.lines(compare(params, "1", "2"))
    assert lines[-1] == "  and 10 more: --json, or --out FILE.csv"
    assert sum(line.startswith("  newly missed") for line in lines) == comparison.MOST_SHOWN


def test_a_version_with_itself_changes_nothing(makes, params):
    makes.version({"porn": 10})
    report = compare(params, "1", "1")
    assert report["moved"] == []
    assert all(each["change"] == 0 for each in report["recall"])
    assert comparison.lines(report)[-1] == "pictures whose likeliest class changed sides: none"


def test_past_the_gates_it_warns_first(makes, params, client):
    makes.version()
    promoting.promote(params, None, reason="r")
    makes.version()
    client.set_registered_model_alias("nsfw", "production", "2")
    report = compare(params, "1", "2")
    assert comparison.lines(report)[0].startswith(
        "WARNING: WENT PAST THE GATES: the alias production points at version 2"
    )
    assert report["findings"]


@pytest.mark.parametrize("why", ["no evidence", "incomparable"])
def test_past_the_gates_and_with_nothing_to_compare_it_warns_all_the_same(makes, params, client, why):
    makes.version()
    promoting.promote(params, None, reason="r")
    made = makes.version(with_evidence=False) if why == "no evidence" else makes.version(frame=predictions(first=500))
    client.set_registered_model_alias("nsfw", "production", str(made))
    with pytest.raises(UserError) as caught:
        compare(params, "1", "2")
    problem, warning = str(caught.value).splitlines()
    assert ("registered past the pipeline" if why == "no evidence" else "was never shown 300 of 300") in problem
    assert warning.startswith("WARNING: WENT PAST THE GATES")


def test_pictures_that_the_first_was_not_shown_are_asked_for(makes, params):
    makes.version()
    makes.version(frame=predictions({"porn": 3}, first=200))
    report = compare(params, "1", "2", lambda before, after: predictions(first=200))
    assert (row(report, "recall porn")["before"], row(report, "recall porn")["after"]) == (1.0, 0.97)


def test_no_such_version(makes, params):
    makes.version()
    with pytest.raises(UserError, match="no version 7"):
        compare(params, "1", "7")


def test_sides_are_joined_by_picture_and_by_class_name_not_by_place(rng):
    """`before` has its rows and its classes in another order."""
    after = predictions({"porn": 5}, each=8)
    before = predictions({"neutral": 3}, each=8)
    turned = ("porn", "drawings", "neutral")
    mixed = before.iloc[rng.permutation(len(before))][["label", "split", "sha256", *(f"p_{name}" for name in turned)]]
    plain = pair_answers(evidence_of(before), evidence_of(after))
    both = pair_answers(evidence_of(mixed, labels=turned), evidence_of(after))
    pd.testing.assert_frame_equal(both.frame, plain.frame)
    arrays = both.arrays()
    np.testing.assert_array_equal(arrays[0], before[[f"p_{name}" for name in NAMES]].to_numpy())
    np.testing.assert_array_equal(arrays[1], after[[f"p_{name}" for name in NAMES]].to_numpy())
    assert arrays[2].tolist() == [0] * 8 + [1] * 8 + [2] * 8


def test_pictures_of_val_do_not_count_but_answers_on_them_do():
    """What was val for one and is test for the other: it was shown to both."""
    after = predictions(each=4)
    before = after.assign(split="val")
    assert len(pair_answers(evidence_of(before), evidence_of(after)).frame) == 12
    assert len(pair_answers(evidence_of(after), evidence_of(before)).frame) == 0


def test_moved_names_all_four_sides():
    columns = [*(f"before_{name}" for name in NAMES), *(f"after_{name}" for name in NAMES)]
    safe, unsafe = [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]
    rows = [
        ["a", "porn", *unsafe, *safe],
        ["b", "porn", *safe, *unsafe],
        ["c", "neutral", *safe, *unsafe],
        ["d", "neutral", *unsafe, *safe],
        ["e", "neutral", *unsafe, *unsafe],
    ]
    rows_moved = moved_pictures(
        PairedAnswers(pd.DataFrame(rows, columns=["sha256", "label", *columns]), NAMES, ("porn",))
    )
    assert dict(zip(rows_moved["sha256"], rows_moved["side"], strict=True)) == {
        "a": "newly missed",
        "b": "newly caught",
        "c": "newly withheld",
        "d": "newly let through",
    }
