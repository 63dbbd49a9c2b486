import json

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation import bootstrap
from pipeline.evaluation import predictions as table
from pipeline.evaluation.label_match import LabelMatch, by_class_and_label, listing, matched_summary
from pipeline.evaluation.recall import confusion, summary

CLASSES, UNSAFE = ("drawings", "neutral", "porn"), ("porn",)
BINARY = LabelMatch(("safe", "unsafe"), ("unsafe",), CLASSES, UNSAFE)
RENAMED = LabelMatch(("drawings", "neutral", "nude"), ("nude",), CLASSES, UNSAFE)
SIXTH = LabelMatch((*CLASSES, "memes"), UNSAFE, CLASSES, UNSAFE)
OWN = LabelMatch.own(CLASSES, UNSAFE)


def answers(match: LabelMatch, predicted: str, truth: str) -> pd.DataFrame:
    """A predictions table: the labels that are predicted, and the classes of the pictures, a word each."""
    labels, classes = predicted.split(), truth.split()
    probabilities = 0.8 * np.eye(len(match.labels))[[match.labels.index(name) for name in labels]]
    probabilities += 0.2 / len(match.labels)
    return table.frame([str(i) for i in range(len(labels))], "test", classes, probabilities, match.labels)


def figures(match: LabelMatch, predicted: str, truth: str) -> dict:
    """The summary, as JSON holds it."""
    made = matched_summary(*match.arrays(answers(match, predicted, truth)), match, 0.95)
    return json.loads(json.dumps(made, allow_nan=False))


@pytest.mark.parametrize(
    ("match", "common", "unknown", "unsafe"),
    [
        (OWN, CLASSES, (), ("porn",)),
        (BINARY, (), CLASSES, ("unsafe", "porn")),
        (RENAMED, ("drawings", "neutral"), ("porn",), ("nude", "porn")),
        (SIXTH, CLASSES, (), ("porn",)),
    ],
)
def test_what_can_be_judged(match, common, unknown, unsafe):
    assert (match.common, match.unknown, match.all_unsafe) == (common, unknown, unsafe)
    assert match.names == (*match.labels, *unknown)
    assert match.members.tolist() == [name in unsafe for name in match.names]
    assert match.label_members.tolist() == [name in unsafe for name in match.labels]
    assert match.same == (match is OWN)


def test_the_classes_decide_what_is_unsafe():
    """A label that was safe when the model was trained."""
    match = LabelMatch(CLASSES, ("neutral", "porn"), CLASSES, ("drawings", "porn"))
    assert match.all_unsafe == ("drawings", "porn")


def test_a_binary_model_is_judged_as_unsafe_or_safe_alone():
    report = figures(BINARY, "safe unsafe safe unsafe unsafe", "drawings neutral porn porn porn")
    assert report["unsafe"]["recall"] == pytest.approx(2 / 3)
    assert report["unsafe"]["precision"] == pytest.approx(2 / 3)
    assert report["pictures"] == 5
    assert report["confusion"] == [[1, 0], [0, 1], [1, 2]]
    assert report["recall"] == report["precision"] == report["recall_interval"] == {}
    nothing = ("accuracy", "accuracy_interval", "macro_recall", "macro_recall_interval", "loss")
    assert {report[name] for name in nothing} == {None}


def test_of_a_renamed_class_only_unsafe_or_safe_is_judged():
    report = figures(RENAMED, "drawings drawings neutral nude nude", "drawings neutral porn porn neutral")
    assert report["recall"] == {"drawings": 1.0, "neutral": 0.0}
    assert report["macro_recall"] == 0.5
    assert report["accuracy"] == pytest.approx(1 / 3)  # of three pictures of classes that it knows
    assert report["precision"] == {"drawings": 0.5, "neutral": 0.0}
    assert report["unsafe"]["recall"] == 0.5
    assert report["loss"] == pytest.approx(-(np.log(0.8 + 0.2 / 3) + 2 * np.log(0.2 / 3)) / 3)


def test_an_answer_of_a_class_more_is_a_wrong_one_and_its_probability_counts():
    report = figures(SIXTH, "drawings memes neutral porn", "drawings drawings neutral porn")
    assert report["recall"] == {"drawings": 0.5, "neutral": 1.0, "porn": 1.0}
    assert report["confusion"][0] == [1, 0, 0, 1]
    assert report["accuracy"] == 0.75


def test_with_its_own_labels_everything_is_as_without_a_match():
    frame = answers(OWN, "drawings porn neutral porn", "drawings neutral neutral porn")
    probabilities, truth = OWN.arrays(frame)
    assert matched_summary(probabilities, truth, OWN, 0.9) == summary(probabilities, truth, CLASSES, UNSAFE, 0.9)
    np.testing.assert_array_equal(probabilities, table.arrays(frame, CLASSES)[0])
    np.testing.assert_array_equal(truth, table.arrays(frame, CLASSES)[1])


@pytest.mark.parametrize("match", [BINARY, RENAMED, SIXTH])
def test_intervals_are_of_the_same_figures(match):
    rng = np.random.default_rng(1)
    truth = match.truth(pd.Series(rng.choice(CLASSES, 400)))
    predicted = rng.integers(0, len(match.labels), 400)
    counts = confusion(truth, predicted, len(match.names))
    probabilities = match.widen(np.eye(len(match.labels))[predicted])
    report = matched_summary(probabilities, truth, match, 0.95)
    drawn = bootstrap.intervals(
        counts, match.names, match.all_unsafe, confidence=0.95, resamples=300, seed=1, known=match.known
    )
    assert set(drawn["recall"]) == set(drawn["precision"]) == set(match.common)
    low, high = drawn["unsafe_recall"]
    assert low <= report["unsafe"]["recall"] <= high
    if match.common:
        low, high = drawn["macro_recall"]
        assert low <= report["macro_recall"] <= high
    else:
        assert drawn["macro_recall"] is None
    assert np.array(by_class_and_label(counts.tolist(), match)).shape == (3, len(match.labels))
    assert report["confusion"] == by_class_and_label(counts.tolist(), match)


def test_a_prediction_is_right_by_class_where_the_model_knows_it_else_by_side():
    assert not RENAMED.is_right("drawings", "neutral")
    assert RENAMED.is_right("neutral", "neutral")
    assert RENAMED.is_right("nude", "porn")
    assert not RENAMED.is_right("neutral", "porn")
    assert BINARY.is_right("safe", "drawings")
    assert not BINARY.is_right("unsafe", "drawings")


def test_long_lists_are_cut():
    assert listing(("a", "b")) == "a, b"
    assert listing([str(number) for number in range(15)]).endswith("10, 11 and 3 more")
