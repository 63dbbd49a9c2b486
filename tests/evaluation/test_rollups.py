import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.evaluation import rollups
from pipeline.evaluation.label_match import LabelMatch
from pipeline.params.evaluate import Evaluate, Policy

NAMES, UNSAFE = ("drawings", "hentai", "neutral", "porn"), ("hentai", "porn")
OWN = LabelMatch.own(NAMES, UNSAFE)
EVALUATE = Evaluate(**yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())["evaluate"])


def judged(seed: int, n: int = 400) -> rollups.SplitPredictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    odds = np.exp(rng.normal(size=(n, 4)) + 2 * np.eye(4)[labels])
    return rollups.SplitPredictions(odds / odds.sum(axis=1, keepdims=True), labels)


def points(val: rollups.SplitPredictions, test: rollups.SplitPredictions, **changed: object) -> dict:
    by_rollup = rollups.operating_points(val, test, OWN, EVALUATE.model_copy(update=changed))
    return json.loads(json.dumps(by_rollup, allow_nan=False))


def test_without_a_policy_all_unsafe_classes_go_to_the_queue():
    assert rollups.policy(None, UNSAFE) == {"block": [], "blur": [], "queue": ["hentai", "porn"]}
    by_rollup = points(judged(1), judged(2))
    assert list(by_rollup) == ["unsafe", "queue"]
    assert by_rollup["unsafe"]["classes"] == by_rollup["queue"]["classes"] == ["hentai", "porn"]
    assert (by_rollup["unsafe"]["action"], by_rollup["queue"]["action"]) == (None, "queue")
    assert by_rollup["unsafe"]["threshold"] == by_rollup["queue"]["threshold"]


def test_each_action_with_classes_has_a_point_of_its_own():
    by_rollup = points(judged(1), judged(2), policy=Policy(block=("porn",), blur=("hentai",)))
    assert list(by_rollup) == ["unsafe", "block", "blur"]
    assert by_rollup["block"]["classes"] == ["porn"]
    assert by_rollup["block"]["threshold"] != by_rollup["blur"]["threshold"]


def test_val_chooses_and_test_measures():
    val, test = judged(1), judged(2)
    point = points(val, test, target_recall=0.9)["unsafe"]
    members = np.array([False, True, False, True])
    scores = {split: part.probabilities[:, members].sum(axis=1) for split, part in (("val", val), ("test", test))}
    unsafe = {split: members[part.labels] for split, part in (("val", val), ("test", test))}
    caught = scores["val"][unsafe["val"]] >= point["threshold"]
    assert point["val_recall"] == caught.mean() >= 0.9
    flagged = scores["test"] >= point["threshold"]
    assert point["recall"] == pytest.approx(flagged[unsafe["test"]].mean())
    assert point["precision"] == pytest.approx(unsafe["test"][flagged].mean())
    assert point["false_positive_rate"] == pytest.approx(flagged[~unsafe["test"]].mean())
    assert points(val, judged(3), target_recall=0.9)["unsafe"]["threshold"] == point["threshold"]


def test_prevalence_is_repeated_as_it_was_stated_or_left_out():
    val, test = judged(1), judged(2)
    assert points(val, test, prevalence=0.05)["unsafe"]["at_prevalence"]["unsafe_share"] == 0.05
    shares = {"drawings": 0.5, "hentai": 0.1, "neutral": 0.3, "porn": 0.1}
    assert points(val, test, prevalence=shares)["unsafe"]["at_prevalence"]["shares"] == shares
    assert points(val, test, prevalence=None)["unsafe"]["at_prevalence"] is None


def test_without_a_picture_on_val_there_is_no_threshold_and_no_figure():
    val, test = judged(1), judged(2)
    safe = rollups.SplitPredictions(val.probabilities[val.labels != 3], val.labels[val.labels != 3])
    point = points(safe, test, policy=Policy(block=("porn",)))["block"]
    assert {value for key, value in point.items() if key not in {"classes", "action"}} == {None}


def test_a_binary_model_has_the_point_of_all_unsafe_classes_and_no_other():
    """Its two outputs are those of a model of four classes, added up: so are threshold and figures."""
    four = [judged(1), judged(2)]
    match = LabelMatch(("safe", "unsafe"), ("unsafe",), NAMES, UNSAFE)
    two = []
    for part in four:
        unsafe = part.probabilities[:, [1, 3]].sum(axis=1)
        answers = match.widen(np.stack([1 - unsafe, unsafe], axis=1))
        two.append(rollups.SplitPredictions(answers, part.labels + 2))  # match.names: safe, unsafe, then the classes
    expected = points(*four)["unsafe"]
    for policy, names in ((None, ["unsafe", "queue"]), (Policy(block=("porn",), blur=("hentai",)), ["unsafe"])):
        by_rollup = rollups.operating_points(*two, match, EVALUATE.model_copy(update={"policy": policy}))
        assert list(by_rollup) == names
        for point in by_rollup.values():
            assert point["classes"] == ["unsafe"]
            assert point["threshold"] == pytest.approx(expected["threshold"])
            assert point["false_positive_rate"] == expected["false_positive_rate"]
            assert point["at_prevalence"] == expected["at_prevalence"]


def test_an_action_whose_classes_a_model_knows_has_a_point_whatever_else_it_does_not_know():
    match = LabelMatch(("drawings", "hentai", "neutral", "nude"), ("hentai", "nude"), NAMES, UNSAFE)
    assert match.names == ("drawings", "hentai", "neutral", "nude", "porn")
    rng = np.random.default_rng(4)
    answers = match.widen(rng.dirichlet(np.ones(4), 300))
    part = rollups.SplitPredictions(answers, rng.choice([0, 1, 2, 4], 300))  # no picture is of `nude`
    policy = {"policy": Policy(block=("porn",), blur=("hentai",))}
    by_rollup = rollups.operating_points(part, part, match, EVALUATE.model_copy(update=policy))
    assert list(by_rollup) == ["unsafe", "blur"]
    assert by_rollup["unsafe"]["classes"] == ["hentai", "nude"]
