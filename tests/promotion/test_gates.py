import dataclasses

import numpy as np
import pytest
import yaml

from pipeline.evaluation.paired_comparison import Difference
from pipeline.params.register import Gates
from pipeline.promotion import gates
from pipeline.promotion.case import Case
from pipeline.promotion.case import TestSetChange as Change  # pytest would collect a Test...
from pipeline.promotion.gate_table import failed_gates, format_rows
from tests.support import evidence_documents

EVIDENCE = {
    "unsafe": ["porn"],
    "test": {"by_label": {"neutral": 60, "porn": 40}},
    "summary": {
        "recall": {"neutral": 0.9, "porn": 0.85, "empty": None},
        "confusion": [[54, 6, 0], [6, 34, 0], [0, 0, 0]],
        "unsafe": {"recall": 0.85},
    },
    "calibration": {"temperature": 1.25, "ece_before": 0.0612, "ece_after": 0.03},
    "robustness": {"pictures": 100, "worst": {"distortion": "grey", "unsafe_recall": 0.7}},
    "slices": {"gap": {"family": "format", "best": "PNG", "worst": "GIF", "gap": 0.2}, "min_slice": 20},
    "leaks": {"test_pictures": 100, "near": 5, "share": 0.05, "straddling": 0},
}
FACTS = {
    "record_id": "r1",
    "run_status": "FINISHED",
    "imported": False,
    "git_commit": "c" * 40,
    "git_dirty": False,
    "size_mb": 12.0,
    "speed": {"p95_ms": 20.0, "hardware": "a machine"},
}
LIMITS = {
    "class_recall": 0.8,
    "unsafe_recall": 0.8,
    "drop": {"unsafe_recall": 0.01, "macro_recall": 0.02, "class_recall": 0.03, "risk": 0.5},
    "slice_gap": 0.3,
    "calibration": 0.1,
    "robustness": 0.6,
    "reports": True,
    "latency_ms": 100.0,
    "size_mb": 100.0,
    "test_set": True,
    "leaks": 0.1,
    "clean": True,
    "finished": True,
}


def fell(before: float, after: float, pictures: int = 50) -> Difference:
    """A difference of which every draw is the change itself."""
    return Difference(before, after, pictures, np.full(100, after - before))


def differences(unsafe: float = 0.0, macro: float = 0.0, neutral: float = 0.0, porn: float = 0.0):
    changes = {"recall/neutral": neutral, "recall/porn": porn, "unsafe_recall": unsafe, "macro_recall": macro}
    return {name: fell(0.9, 0.9 + change) for name, change in changes.items()}


def case(**more) -> Case:
    """A sound challenger against version 3; `evidence` and `facts` are added to what is above."""
    evidence, facts = EVIDENCE | more.pop("evidence", {}), FACTS | more.pop("facts", {})
    made = {"production": 3, "differences": differences(), "test_sets": Change(0, 0, 0), "reports": 2}
    return Case(evidence_documents.evidence(**evidence), facts, **made | more)


def judged(name: str, judged_case: Case, **limits):
    (row,) = [gate for gate in gates.judge(Gates(**LIMITS | limits), judged_case) if gate.gate == name]
    return row


def summary(**more):
    return {"summary": EVIDENCE["summary"] | more}


def leaks(**more):
    return {"leaks": EVIDENCE["leaks"] | more}


PASSES = [
    ("class_recall", case(), 0.85, 0.8, "porn is the lowest, on 40 pictures"),
    ("unsafe_recall", case(), 0.85, 0.8, "on 40 unsafe pictures"),
    ("drop_unsafe_recall", case(), 0.0, 0.01, "90.0 -> 90.0 % on 50 pictures of both; 0 % of paired"),
    ("drop_macro_recall", case(differences=differences(macro=-0.015)), 0.015, 0.02, "90.0 -> 88.5 %"),
    ("drop_class_recall", case(differences=differences(porn=-0.02)), 0.02, 0.03, "porn: 90.0 -> 88.0 %"),
    ("slice_gap", case(), 0.2, 0.3, "unsafe recall by format: PNG to GIF"),
    ("calibration", case(), 0.03, 0.1, "temperature 1.25; without 0.0612"),
    ("robustness", case(), 0.7, 0.6, "as grey, the worst, 100 test pictures"),
    ("reports", case(), 0.0, 0.0, "all 2 reported pictures are right"),
    ("latency_ms", case(), 20.0, 100.0, "95th percentile, a machine"),
    ("size_mb", case(), 12.0, 100.0, "MB of the model file"),
    ("test_set", case(), 0.0, None, "the same pictures and labels"),
    ("test_set", case(test_sets=Change(9, 1, 2), test_change="October"), None, None, "named: October (9 pictures"),
    ("leaks", case(), 0.05, 0.1, "5 of 100 test pictures"),
    ("clean", case(), None, None, "from commit cccccccccccc"),
    ("clean", case(facts={"git_dirty": True}, committed="d" * 40), None, None, "that commit dddddddddddd holds"),
    ("finished", case(), None, None, "run r1 is FINISHED"),
]
FAILS = [
    ("class_recall", case(evidence=summary(recall={"neutral": 0.9, "porn": 0.79})), 0.79, 0.8, "porn is the lowest"),
    ("unsafe_recall", case(evidence=summary(unsafe={"recall": 0.5})), 0.5, 0.8, "on 40 unsafe pictures"),
    ("drop_unsafe_recall", case(differences=differences(unsafe=-0.1)), 0.1, 0.01, "90.0 -> 80.0 % on 50 pictures"),
    ("drop_unsafe_recall", case(incomparable="other classes"), None, 0.01, "other classes"),
    ("drop_macro_recall", case(differences=differences(macro=-0.03)), 0.03, 0.02, "100 % of paired resamples"),
    ("drop_macro_recall", case(incomparable="never shown"), None, 0.02, "never shown"),
    (
        "drop_class_recall",
        case(differences=differences(macro=0.1, neutral=-0.05)),
        0.05,
        0.03,
        "neutral: 90.0 -> 85.0 %",
    ),
    ("drop_class_recall", case(incomparable="other classes"), None, 0.03, "other classes"),
    (
        "slice_gap",
        case(evidence={"slices": {"gap": {"family": "size", "best": "L", "worst": "S", "gap": 0.4}}}),
        0.4,
        0.3,
        "by size: L to S",
    ),
    (
        "calibration",
        case(evidence={"calibration": {"temperature": 2.0, "ece_before": None, "ece_after": 0.2}}),
        0.2,
        0.1,
        "temperature 2; without not known",
    ),
    (
        "calibration",
        case(evidence={"calibration": {"temperature": 1.0, "ece_before": None, "ece_after": None}}),
        None,
        0.1,
        "not measured",
    ),
    (
        "robustness",
        case(evidence={"robustness": {"pictures": 9, "worst": {"distortion": "grid", "unsafe_recall": 0.1}}}),
        0.1,
        0.6,
        "as grid, the worst, 9 test pictures",
    ),
    (
        "reports",
        case(wrong_reports=list("abcdefg"), reports=9),
        7.0,
        0.0,
        "of 9: a; b; c; d; e; and 2 more (`nsfw reports check VERSION`)",
    ),
    ("latency_ms", case(facts={"speed": {"p95_ms": 101.0}}), 101.0, 100.0, "95th percentile, unknown"),
    ("latency_ms", case(facts={"speed": None}), None, 100.0, "not measured"),
    ("size_mb", case(facts={"size_mb": 100.5}), 100.5, 100.0, "MB of the model file"),
    ("size_mb", case(facts={"size_mb": None}), None, 100.0, "not measured"),
    (
        "test_set",
        case(test_sets=Change(9, 1, 2)),
        None,
        None,
        "9 pictures more, 1 fewer, 2 relabelled. Name the change",
    ),
    ("test_set", case(test_sets=None, incomparable="no evidence of 3"), None, None, "not known (no evidence of 3)"),
    ("leaks", case(evidence=leaks(near=20, share=0.2)), 0.2, 0.1, "20 of 100 test pictures"),
    ("leaks", case(evidence=leaks(straddling=3)), 3.0, 0.0, "clusters lie in train and in test"),
    ("clean", case(facts={"git_dirty": True}), None, None, "uncommitted changes on cccccccccccc: commit them"),
    ("clean", case(facts={"git_dirty": None}), None, None, "uncommitted changes"),
    ("clean", case(facts={"git_commit": None}), None, None, "outside a git repository"),
    ("finished", case(facts={"run_status": "FAILED"}), None, None, "run r1 is FAILED"),
    ("finished", case(facts={"run_status": None}), None, None, "run r1 is not known"),
]
EMPTY = {"summary": {"recall": {"porn": None}, "confusion": [[0]], "unsafe": {"recall": None}}}
NOT_APPLICABLE = [
    ("class_recall", case(evidence=EMPTY), 0.8, "the test set is empty"),
    ("unsafe_recall", case(evidence=EMPTY | {"test": {"by_label": {}}}), 0.8, "no pictures to judge it on"),
    ("drop_unsafe_recall", case(production=None), 0.01, "nothing else is in production"),
    ("drop_unsafe_recall", case(differences={"macro_recall": fell(0.9, 0.9)}), 0.01, "no such pictures"),
    ("drop_macro_recall", case(production=None), 0.02, "nothing else is in production"),
    ("drop_class_recall", case(production=None), 0.03, "nothing else is in production"),
    ("slice_gap", case(evidence={"slices": {"gap": None, "min_slice": 20}}), 0.3, "no two slices of a family have 20"),
    ("robustness", case(evidence={"robustness": {"pictures": 9, "worst": None}}), 0.6, "no pictures to judge it on"),
    ("reports", case(reports=0), None, "data/reports.csv is empty"),
    ("test_set", case(production=None, test_sets=None), None, "nothing else is in production"),
    ("clean", case(facts={"imported": True, "git_commit": None}), None, "trained elsewhere"),
    ("finished", case(facts={"imported": True, "run_status": "FAILED"}), None, "trained elsewhere"),
]
# What is always there to be judged does not apply only where params.yaml does not ask for it.
ALWAYS = {"calibration", "latency_ms", "size_mb", "leaks"}
OFF = [name for name in gates.NAMES if name != "evidence"]


def test_every_gate_has_all_three():
    """`evidence` itself passes or fails: nothing switches it off, and a version without it is never sound."""
    assert {row[0] for row in PASSES} | {"evidence"} == set(gates.NAMES)
    assert {row[0] for row in FAILS} | {"evidence"} == set(gates.NAMES)
    assert {row[0] for row in NOT_APPLICABLE} | ALWAYS == set(OFF)


@pytest.mark.parametrize(("name", "judged_case", "value", "limit", "reason"), PASSES)
def test_it_passes(name, judged_case, value, limit, reason):
    row = judged(name, judged_case)
    assert (row.status, row.limit) == ("pass", limit), row.reason
    assert row.value == (None if value is None else pytest.approx(value))
    assert reason in row.reason


@pytest.mark.parametrize(("name", "judged_case", "value", "limit", "reason"), FAILS)
def test_it_fails_and_says_by_how_much_and_why(name, judged_case, value, limit, reason):
    table = gates.judge(Gates(**LIMITS), judged_case)
    (row,) = [gate for gate in table if gate.gate == name]
    assert (row.status, row.limit) == ("fail", limit), row.reason
    assert row.value == (None if value is None else pytest.approx(value))
    assert reason in row.reason
    assert name in failed_gates(table)


@pytest.mark.parametrize(("name", "judged_case", "limit", "reason"), NOT_APPLICABLE)
def test_it_does_not_apply(name, judged_case, limit, reason):
    row = judged(name, judged_case)
    assert (row.status, row.value, row.limit) == ("n/a", None, limit), row.reason
    assert reason in row.reason


@pytest.mark.parametrize("name", OFF)
def test_what_params_do_not_ask_for_does_not_apply_and_names_the_key(name):
    key = "drop" if name.startswith("drop_") else name
    off = {key: False if LIMITS[key] is True else None}
    bad = next(row for row in FAILS if row[0] == name)[1]
    assert judged(name, bad).status == "fail"
    row = judged(name, bad, **off)
    assert (row.status, row.value, row.limit) == ("n/a", None, None)
    assert row.reason == f"not asked for: register.gates.{key} is off"


def test_without_evidence_all_fail_even_those_that_are_off():
    off = {name: None if value is not True else False for name, value in LIMITS.items()}
    table = gates.judge(Gates(**off), dataclasses.replace(case(), evidence=None, doubt="it was changed"))
    assert [gate.gate for gate in table] == list(gates.NAMES) == failed_gates(table)
    assert [gate.reason for gate in table] == ["it was changed", *["there is no evidence"] * (len(table) - 1)]


def test_with_evidence_the_gate_of_that_name_passes_and_the_order_is_fixed():
    table = gates.judge(Gates(**LIMITS), case())
    assert [gate.gate for gate in table] == list(gates.NAMES)
    assert table[0].status == "pass"
    assert failed_gates(table) == []


@pytest.mark.parametrize(("name", "at_the_limit"), [("class_recall", 0.85), ("robustness", 0.7), ("calibration", 0.03)])
def test_the_limit_itself_is_enough(name, at_the_limit):
    assert judged(name, case(), **{name: at_the_limit}).status == "pass"


def test_a_class_that_likely_fell_further_than_tolerated_is_named_before_one_that_seems_to_have():
    """`seems` fell by more, on few pictures; `surely` by less, without a doubt."""
    seems = Difference(0.9, 0.8, 10, np.array([-0.3] * 5 + [0.1] * 5))
    surely = Difference(0.9, 0.85, 1000, np.full(10, -0.05))
    row = judged("drop_class_recall", case(differences={"recall/a": seems, "recall/b": surely}))
    assert row.reason.startswith("b: ")
    assert row.status == "fail"


@pytest.mark.parametrize(("risk", "status"), [(0.3, "fail"), (0.5, "pass"), (0.9, "pass")])
def test_the_tolerated_risk_decides(risk, status):
    unsure = Difference(0.9, 0.88, 50, np.array([-0.2] * 5 + [0.1] * 5))
    row = judged(
        "drop_unsafe_recall", case(differences={"unsafe_recall": unsure}), drop=LIMITS["drop"] | {"risk": risk}
    )
    assert row.status == status
    assert f"50 % of paired resamples fall by more (tolerated: {100 * risk:g} %)" in row.reason


def test_a_gain_is_no_drop():
    row = judged("drop_macro_recall", case(differences=differences(macro=0.05)))
    assert (row.status, row.value) == ("pass", 0.0)


def test_rows_are_aligned_for_a_terminal():
    table = gates.judge(Gates(**LIMITS), case(evidence=summary(unsafe={"recall": 0.5})))
    lines = format_rows(table)
    assert len(lines) == len(table)
    columns = {line.index(gate.reason) for line, gate in zip(lines, table, strict=True)}
    assert len(columns) == 1
    assert len({line.index(gate.status, 20) for line, gate in zip(lines, table, strict=True)}) == 1
    (unsafe,) = [line for line in lines if line.startswith("unsafe_recall")]
    assert "0.5 (wanted >= 0.8)" in unsafe


def test_a_row_goes_into_json():
    row = judged("size_mb", case())
    assert row.to_document() == {
        "gate": "size_mb",
        "status": "pass",
        "value": 12.0,
        "limit": 100.0,
        "reason": "MB of the model file",
        "test": "at most",
    }


def test_params_yaml_asks_for_every_gate():
    from pathlib import Path

    document = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
    assert all(value not in (None, False) for value in document["register"]["gates"].values())
