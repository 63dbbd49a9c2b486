import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation import predictions as table
from pipeline.evaluation import reviewed
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evaluation.recall import wilson

NAMES = ("a", "b")
OWN = LabelMatch.own(NAMES, ("b",))


@pytest.fixture
def test_set() -> pd.DataFrame:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    return table.frame(["p", "q", "r", "s"], "test", ["a", "b", "a", "b"], probabilities, NAMES)


def test_reports_are_counted_and_the_wrong_ones_listed(test_set):
    reports = pd.DataFrame(
        {
            "sha256": ["p", "r", "gone", "s"],
            "expected_label": ["a", "a", "b", "b"],
            "slice": ["", "night", "", ""],
            "ticket": ["T-1", "T-2", "T-3", "<b>|T-4"],
            "reported_at": "",
        }
    )
    report = reviewed.regression(reports, test_set, OWN, 0.95)
    rows = report.pop("slices")
    assert report == {
        "cases": 4,
        "right": 1,
        "missing": 1,
        "wrong": [
            {"sha256": "r", "expected_label": "a", "said": "b", "ticket": "T-2", "slice": "night"},
            {"sha256": "s", "expected_label": "b", "said": "a", "ticket": "<b>|T-4", "slice": ""},
        ],
    }
    night, without = sorted(rows, key=lambda row: row["pictures"])
    assert (night["family"], night["slice"], night["pictures"]) == ("reported", "night", 1)
    assert (night["false_positive_rate"], night["unsafe_recall"]) == (1.0, None)
    assert night["false_positive_rate_interval"] == wilson(1, 1, 0.95)
    assert (without["slice"], without["pictures"], without["unsafe_recall"]) == ("(no slice)", 2, 0.0)
    assert without["false_positive_rate"] == 0.0
    none = reviewed.regression(reports.head(0), test_set, OWN, 0.95)
    assert none == {"cases": 0, "right": 0, "missing": 0, "wrong": [], "slices": []}


def test_raw_labels_are_the_unambiguous_known_ones():
    catalog = pd.DataFrame({"sha256": ["p", "q", "r"], "labels": [["a"], ["a", "b"], ["elsewhere"]]})
    assert reviewed.raw_labels(catalog, NAMES).to_dict() == {"p": "a"}


def test_both_sides_have_their_own_labels_and_the_same_counts(test_set):
    raw = pd.Series({"p": "a", "q": "b", "r": "b", "dropped": "a"})  # r was relabelled; s had two labels
    decided = pd.Series({"r": "a", "s": "b", "q": "b", "dropped": "drop"})
    before, after = reviewed.compare_labels(test_set, test_set.head(0), raw, decided, OWN, 0.95)
    counts = {"relabelled": 1, "changed": 2, "confirmed": 1, "dropped": 1, "unsure": 0, "escalated": 0}
    assert {key: before[key] for key in counts} == {key: after[key] for key in counts} == counts
    assert (before["pictures"], after["pictures"]) == (3, 4)
    assert before["summary"]["accuracy"] == 1.0
    assert after["summary"]["accuracy"] == 0.5


def test_pictures_that_nobody_can_tell_are_in_the_raw_set_alone(test_set):
    raw = pd.Series({"p": "a", "q": "b", "r": "b", "s": "b"})
    decided = pd.Series({"r": "unsure", "gone": "escalate"})
    unsure = test_set[test_set["sha256"] == "r"].assign(split="unsure", label="b")
    rest = test_set[test_set["sha256"] != "r"]
    before, after = reviewed.compare_labels(rest, unsure, raw, decided, OWN, 0.95)
    assert (before["pictures"], after["pictures"]) == (4, 3)
    assert (before["unsure"], before["escalated"], before["confirmed"]) == (1, 1, 0)
    assert before["summary"]["accuracy"] == 0.75  # r is predicted b, s is not
    assert after["summary"]["accuracy"] == pytest.approx(2 / 3)


def test_without_an_unambiguous_label_there_is_no_raw_summary(test_set):
    before, after = reviewed.compare_labels(
        test_set, test_set.head(0), pd.Series(dtype="str"), pd.Series(dtype="str"), OWN, 0.9
    )
    assert (before["pictures"], before["summary"]) == (0, None)
    assert after["pictures"] == 4


def test_a_report_of_a_class_that_the_model_does_not_know_is_right_on_the_right_side(test_set):
    """Pictures are predicted a, b, b, a; b is unsafe, and so is c."""
    reports = pd.DataFrame(
        {"sha256": list("pqrs"), "expected_label": list("cccb"), "ticket": list("1234"), "slice": ""}
    )
    match = LabelMatch(NAMES, ("b",), ("a", "b", "c"), ("b", "c"))
    report = reviewed.regression(reports, test_set, match, 0.95)
    assert (report["right"], [row["ticket"] for row in report["wrong"]]) == (2, ["1", "4"])
