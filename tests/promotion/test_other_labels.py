"""Versions whose labels are not the project's: judged, compared and shown by what both sides know."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evidence.document import Document
from pipeline.promotion import comparison, model_card, promoting
from pipeline.promotion.comparison import compare
from pipeline.promotion.formatting import gate_lines
from pipeline.promotion.history import history
from pipeline.registry import descriptions, ledger
from tests.support.versions import NAMES, document, predictions

pytestmark = pytest.mark.untraced

BINARY = LabelMatch(("safe", "unsafe"), ("unsafe",), NAMES, ("porn",))
RENAMED = LabelMatch(("drawings", "neutral", "nude"), ("nude",), NAMES, ("porn",))
MORE = LabelMatch((*NAMES, "memes"), ("porn",), NAMES, ("porn",))
BY_CLASS = ("class_recall", "drop_macro_recall", "drop_class_recall")


def binary(wrong: dict[str, int] | None = None) -> pd.DataFrame:
    """`predictions` of a model with two outputs: porn, and the rest."""
    frame = predictions(wrong)
    return frame[["sha256", "split", "label"]].assign(p_safe=1 - frame["p_porn"], p_unsafe=frame["p_porn"])


def renamed(wrong: dict[str, int] | None = None) -> pd.DataFrame:
    return predictions(wrong).rename(columns={"p_porn": "p_nude"})


def more(wrong: dict[str, int] | None = None, memes: int = 0) -> pd.DataFrame:
    """So many of the neutral ones are called memes."""
    frame = predictions(wrong).assign(p_memes=0.0)
    rows = frame.index[frame["label"] == "neutral"][-memes:] if memes else []
    frame.loc[rows, [f"p_{name}" for name in NAMES]] = 0.02
    frame.loc[rows, "p_memes"] = 0.94
    return frame


def rows(outcome):
    return {gate.gate: gate for gate in outcome.table}


def statuses(outcome, names):
    table = rows(outcome)
    return {name: table[name].status for name in names}


@pytest.fixture
def incumbent(makes, params) -> int:
    """A binary model in production; 8 of 100 unsafe pictures are missed, 3 safe ones withheld."""
    version = makes.version(frame=binary({"porn": 8, "neutral": 3}), match=BINARY, facts_more={"imported": True})
    assert promoting.promote(params, None, reason="what runs today").failed == []
    return version


def test_a_binary_model_becomes_production_and_what_was_not_judged_is_written_down(incumbent, params, client):
    (entry,) = ledger.read(client, "nsfw").effective
    row = next(row for row in entry.draft.gates if row["gate"] == "class_recall")
    reason = "its labels are safe, unsafe: none is a class of the pictures (drawings, neutral, porn)"
    assert (row["status"], row["reason"], row["unjudged"]) == ("n/a", reason, reason)
    judged = {row["gate"]: row for row in entry.draft.gates}
    assert judged["unsafe_recall"]["value"] == 0.92
    assert judged["unsafe_recall"]["reason"] == "on 100 unsafe pictures"
    assert judged["calibration"]["reason"].startswith("of the probability of unsafe; ")
    assert f"        not judged: class_recall ({reason})" in history(params).lines()
    version = client.get_model_version("nsfw-ledger", "1")
    assert f"not judged: class\\_recall ({reason})" in version.description


def test_a_model_of_three_classes_replaces_it_by_what_both_answer(incumbent, makes, params):
    makes.version({"porn": 7, "drawings": 5})
    outcome = promoting.judge(params)
    assert statuses(outcome, ("class_recall", "drop_unsafe_recall", "test_set")) == dict.fromkeys(
        ("class_recall", "drop_unsafe_recall", "test_set"), "pass"
    )
    assert rows(outcome)["drop_unsafe_recall"].reason.startswith("92.0 -> 93.0 % on 100 pictures of both")
    labels = "version 1 has the labels safe, unsafe; version 2 has the labels drawings, neutral, porn"
    for name in BY_CLASS[1:]:
        gate = rows(outcome)[name]
        assert (gate.status, gate.value) == ("n/a", None)
        assert gate.reason == f"no class of the pictures is a label of both: {labels}"
    head = gate_lines(outcome.table)[0]
    assert head.startswith("gates: none failed; not judged: drop_macro_recall, drop_class_recall (no class of the pict")
    assert promoting.promote(params, None, reason="tells classes apart").entry is not None
    assert makes.production() == 2


def test_it_is_refused_where_it_misses_more_than_the_binary_one(incumbent, makes, params):
    makes.version({"porn": 12})
    outcome = promoting.promote(params, None, reason="?")
    assert outcome.failed == ["drop_unsafe_recall"]
    assert rows(outcome)["drop_unsafe_recall"].value == pytest.approx(0.04)


def test_a_binary_challenger_passes_by_what_can_be_judged_and_says_what_was_not(makes, params):
    makes.version({"porn": 5, "drawings": 30})
    assert promoting.promote(params, None, reason="first").entry is not None
    makes.version(frame=binary({"porn": 9}), match=BINARY)
    refused = promoting.promote(params, None, reason="?")
    assert refused.failed == ["drop_unsafe_recall"]
    makes.version(frame=binary({"porn": 4}), match=BINARY)
    outcome = promoting.promote(params, None, reason="misses less")
    assert outcome.entry is not None
    assert statuses(outcome, BY_CLASS) == dict.fromkeys(BY_CLASS, "n/a")
    assert all(rows(outcome)[name].unjudged for name in BY_CLASS)
    sentences = descriptions.unjudged([gate.to_document() for gate in outcome.table])
    assert [sentence.partition(" (")[0] for sentence in sentences] == [
        "not judged: class_recall",
        "not judged: drop_macro_recall, drop_class_recall",
    ]


def test_of_a_renamed_class_the_others_are_compared_and_the_table_says_so(makes, params):
    makes.version(frame=renamed({"neutral": 2, "porn": 4}), match=RENAMED)
    alone = promoting.promote(params, None, reason="first")
    assert rows(alone)["class_recall"].reason == "neutral is the lowest, on 100 pictures; it has no label porn"
    makes.version({"neutral": 8, "porn": 30})
    outcome = promoting.judge(params)
    gate = rows(outcome)["drop_class_recall"]
    assert (gate.status, gate.value) == ("fail", pytest.approx(0.06))
    assert gate.reason.startswith("neutral: 98.0 -> 92.0 % on 100 pictures")
    assert gate.reason.endswith("; not compared by class: version 1 has no label porn")
    assert rows(outcome)["drop_macro_recall"].reason.startswith("99.0 -> 96.0 %")
    assert rows(outcome)["drop_unsafe_recall"].value == pytest.approx(0.26)
    assert rows(outcome)["class_recall"].unjudged == ""
    parts = "judged in part: drop_macro_recall, drop_class_recall (not compared by class: version 1 has no label porn)"
    assert gate_lines(outcome.table)[0].endswith(parts)


def test_with_a_class_more_every_class_of_the_pictures_is_judged(makes, params):
    makes.version({"neutral": 2})
    promoting.promote(params, None, reason="first")
    makes.version(frame=more({"neutral": 2}, memes=10), match=MORE)
    outcome = promoting.judge(params)
    assert outcome.failed == ["drop_macro_recall", "drop_class_recall"]
    assert rows(outcome)["drop_class_recall"].reason.startswith("neutral: 98.0 -> 88.0 % on 100 pictures")
    assert all(gate.unjudged == "" for gate in outcome.table)
    assert rows(outcome)["drop_unsafe_recall"].status == "pass"


def test_a_class_that_is_new_in_the_project_is_compared_for_those_that_know_it(makes, params):
    """Production was trained when there were three classes; a fourth, unsafe one has been split off porn since."""
    makes.version({"porn": 10})
    promoting.promote(params, None, reason="first")
    four = (*NAMES, "sexy")
    frame = predictions({"porn": 10}).assign(p_sexy=0.0)
    frame.loc[frame.index[frame["label"] == "porn"][-40:], "label"] = "sexy"
    frame.loc[frame["label"] == "sexy", ["p_porn", "p_sexy"]] = [0.05, 0.9]
    match = LabelMatch.own(four, ("porn", "sexy"))
    makes.version(frame=frame, match=match)
    outcome = promoting.judge(params, test_change="sexy is a class of its own")
    assert outcome.failed == []
    assert rows(outcome)["drop_unsafe_recall"].reason.startswith("90.0 -> 90.0 % on 100 pictures of both")
    assert rows(outcome)["drop_class_recall"].unjudged == "not compared by class: version 1 has no label sexy"


def test_compare_shows_what_is_common_and_what_is_not(incumbent, makes, params):
    makes.version({"porn": 4, "neutral": 1})
    report = compare(params, "1", "2")
    assert [row["figure"] for row in report["recall"]] == ["unsafe recall"]
    assert (report["recall"][0]["before"], report["recall"][0]["after"]) == (0.92, 0.96)
    assert report["uncompared"].startswith("no class of the pictures is a label of both: version 1 has the labels safe")
    (error,) = [row for row in report["other"] if row["figure"] == "calibration, unsafe"]
    assert None not in (error["before"], error["after"])
    moved = {(row["side"], row["said_before"], row["said_after"]) for row in report["moved"]}
    assert ("newly caught", "safe", "porn") in moved
    assert ("newly let through", "unsafe", "neutral") in moved
    assert f"  {report['uncompared']}" in comparison.lines(report)
    json.dumps(report, allow_nan=False)
    back = compare(params, "2", "1")
    assert back["recall"][0]["change"] == pytest.approx(-0.04)


def test_the_calibration_of_unsafe_is_that_of_its_probability(incumbent, makes, params):
    """The binary one's evidence and the other's are computed alike: both call unsafe what they call it with 0.9."""
    makes.version({"porn": 8, "neutral": 3}, alias=False)
    report = compare(params, "1", "2")
    (error,) = [row for row in report["other"] if row["figure"] == "calibration, unsafe"]
    assert error["before"] == pytest.approx(error["after"], abs=0.05)


def test_versions_of_the_same_labels_are_shown_as_ever(makes, params):
    makes.version({"porn": 3})
    makes.version({"porn": 4})
    report = compare(params, "1", "2")
    assert "uncompared" not in report
    assert "calibration error" in {row["figure"] for row in report["other"]}
    assert all("unjudged" not in gate.to_document() for gate in promoting.judge(params).table)


def test_reports_are_judged_by_side_where_it_has_no_label_for_them(incumbent, makes, params):
    frame = binary({"porn": 8, "neutral": 3})
    wrong, right = frame[frame["label"] == "porn"]["sha256"].iloc[[0, 20]]
    neutral = frame[frame["label"] == "neutral"]["sha256"].iloc[50]
    paths.REPORTS.parent.mkdir(parents=True, exist_ok=True)
    head = "sha256,expected_label,slice,ticket,reported_at\n"
    paths.REPORTS.write_text(head + f"{right},porn,,T-1,\n{neutral},neutral,,T-2,\n")
    gate = rows(promoting.judge(params, "1"))["reports"]
    assert gate.status == "pass"
    assert gate.reason == (
        "all 2 reported pictures are right; 2 only as unsafe or safe: it has no label of their class"
    )
    paths.REPORTS.write_text(head + f"{wrong},porn,,T-3,\n")
    gate = rows(promoting.judge(params, "1"))["reports"]
    assert (gate.status, gate.value) == ("fail", 1.0)
    assert f"{wrong[:12]} is porn, it says safe" in gate.reason


def test_the_card_of_a_binary_model_has_its_figures_and_what_is_missing(params):
    made = document(binary({"porn": 8}), "a" * 64, BINARY)
    every = document(predictions({"porn": 8}), "a" * 64)
    form = {"recall": {}, "macro_recall": None, "unsafe_recall": 0.9, "unsafe_recall_interval": [0.8, 0.95]}
    made["robustness"] |= {"plain": form}
    every["robustness"] |= {"plain": form | {"recall": dict.fromkeys(NAMES, 0.9), "macro_recall": 0.9}}
    made["policy"] = {"block": ["porn"], "blur": [], "queue": []}
    gate = {"gate": "class_recall", "status": "n/a", "value": None, "limit": 0.6, "reason": "so", "unjudged": "so"}
    every["bootstrap"] |= {name: dict.fromkeys(NAMES) for name in ("recall", "precision")}
    card = model_card.render(Document.read(made), {"gates": [gate]})
    head = card.split("## Gates")[0].replace("\\", "")
    assert "Of 100 unsafe test pictures it calls 92.0 % unsafe" in head
    assert "**not judged: class_recall (so)**" in head
    assert "| porn | 100 | n/a | n/a | n/a | n/a | n/a |" in card
    assert "The model has no label drawings, neutral, porn: of these pictures only unsafe or safe is judged" in card
    assert "| porn | 8 | 92 |" in card
    assert "No threshold for block: the model cannot tell these classes" in card
    assert "what is calibrated is the probability that a picture is unsafe" in card
    assert "| macro recall | 300 | n/a | n/a |" in card
    assert "It sorts pictures into safe, unsafe; unsafe is unsafe." in card
    plain = model_card.render(Document.read(every), {"gates": [gate | {"unjudged": ""}]})
    for text in ("not judged:", "has no label", "No threshold for", "what is calibrated"):
        assert text not in plain


def test_pictures_that_it_was_not_shown_are_asked_for_under_its_own_labels(incumbent, makes, params):
    later = predictions({"porn": 2}, first=200)
    makes.version(frame=later)
    fresh = later[["sha256", "split", "label"]].assign(p_safe=1 - later["p_porn"], p_unsafe=later["p_porn"])
    report = compare(params, "1", "2", lambda before, after: fresh)
    assert report["recall"][0]["change"] == 0
    with pytest.raises(UserError, match="never shown 300 of 300"):
        compare(params, "1", "2")


def test_probabilities_of_unsafe_are_those_of_each_ones_unsafe_labels(incumbent, makes, params):
    makes.version({"porn": 4, "neutral": 1})
    moved = compare(params, "1", "2")["moved"]
    assert np.isclose([row["unsafe_before"] + row["unsafe_after"] for row in moved], 0.95).all()
