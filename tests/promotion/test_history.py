import json

import pytest

from pipeline.core.errors import UserError
from pipeline.promotion import promoting
from pipeline.promotion.formatting import gate_lines, plain
from pipeline.promotion.history import history
from pipeline.registry import ledger

pytestmark = pytest.mark.untraced


def history_text(params) -> str:
    return "\n".join(history(params).lines())


@pytest.fixture
def three(makes, params):
    """Three versions that were production one after the other."""
    for number in range(3):
        makes.version()
        promoting.promote(params, None, reason=f"reason {number + 1}")
    return makes


def test_who_when_why_from_and_to_the_latest_first(three, params):
    lines = history(params).lines()
    assert lines[0] == "nsfw: version 3 in production; challenger: version 3"
    assert [line.split()[0] for line in lines[1:]] == ["#3", "#2", "#1"]
    assert "promote  2 -> 3" in lines[1]
    assert lines[1].endswith(": reason 3")
    assert "promote  - -> 1" in lines[3]
    document = history(params).to_document()
    assert (document["production"], document["alias"], document["findings"]) == (3, {"production": 3}, [])
    assert [entry["draft"]["version"] for entry in document["entries"]] == [1, 2, 3]
    assert all(entry["took_effect"] for entry in document["entries"])
    json.dumps(document, allow_nan=False)


def test_before_the_first_promotion(makes, params):
    makes.version()
    assert "nothing yet in production; challenger: version 1" in history_text(params)
    assert "the ledger is empty" in history_text(params)


def test_nothing_registered(client, params):
    with pytest.raises(UserError, match=r"sqlite:///mlflow\.db has no model nsfw\. `dvc repro`"):
        history(params)


def test_a_plain_client_past_the_gates_is_told_first_and_loudly(three, params, client):
    registered = client.create_model_version("nsfw", "s3://somewhere/model")
    client.set_registered_model_alias("nsfw", "production", registered.version)
    lines = history(params).lines()
    assert lines[0].startswith("WARNING: WENT PAST THE GATES: the alias production points at version 4")
    assert "It has no evidence." in lines[0]
    assert lines[1].startswith("nsfw: version 3 in production")
    assert lines[-1] == "versions without evidence, registered past the pipeline: 4"
    assert history(params).to_document()["findings"]


def test_the_ledger_deleted_as_a_whole_is_told(three, params, client):
    client.delete_registered_model("nsfw-ledger")
    assert history_text(params).startswith(
        "WARNING: WENT PAST THE GATES: the alias production points at version 3, but nothing"
    )


def test_an_entry_deleted_in_the_middle_is_told_and_the_next_decision_mends_it(three, params, client):
    client.delete_model_version("nsfw-ledger", "2")
    lines = history(params).lines()
    assert lines[0].startswith("WARNING: THE LEDGER IS BROKEN: entry 2 deleted; entry 3 no longer in effect")
    assert any(line.startswith("  #3") and "VOID: it follows an entry that was altered" in line for line in lines)
    assert "  #2    DELETED from the registry" in lines
    assert history(params).now.production == 1
    outcome = promoting.promote(params, "3", reason="it was 3")
    assert outcome.findings[0].startswith("THE LEDGER IS BROKEN")
    assert history(params).now.findings() == []
    assert three.production() == 3
    assert "#2    DELETED" in history_text(params)  # that stays to be seen


def test_the_last_entry_deleted_is_told_and_rollback_to_what_is_left_confirms_it(three, params, client):
    client.delete_model_version("nsfw-ledger", "3")
    client.set_registered_model_alias("nsfw", "production", "2")
    assert history_text(params).startswith("WARNING: THE LEDGER IS BROKEN: entry 3 deleted")
    promoting.rollback(params, "2", reason="2 it is")
    assert history(params).now.findings() == []
    with pytest.raises(UserError, match="is in production already"):
        promoting.rollback(params, "2", reason="again")


def test_an_altered_entry_is_told(three, params, client):
    text = client.get_model_version("nsfw-ledger", "2").tags[ledger.ENTRY_TAG]
    client.set_model_version_tag("nsfw-ledger", "2", ledger.ENTRY_TAG, text.replace("reason 2", "another"))
    assert "THE LEDGER IS BROKEN: entry 3 no longer in effect" in history(params).lines()[0]


def test_why_an_entry_is_void(three, params, client):
    known = ledger.read(client, "nsfw")
    sound = known.last.draft
    promoting.promote(params, "1", reason="winner")
    ledger.append(client, "nsfw", sound, known)
    client.create_model_version("nsfw-ledger", "s3://b/x", tags={ledger.ENTRY_TAG: "rubbish"})
    lines = history(params).lines()
    assert "VOID: another was faster" in next(line for line in lines if line.startswith("  #5"))
    assert "  #6    unreadable: counts for nothing" in lines
    client.delete_model_version("nsfw-ledger", "4")  # the winner; who lost does not take its place
    lines = history(params).lines()
    assert history(params).now.production == 3
    assert "VOID: an entry just before it is lost" in next(line for line in lines if line.startswith("  #5"))


def test_what_others_wrote_does_not_steer_the_terminal(makes, params, monkeypatch):
    monkeypatch.setenv("LOGNAME", "me\x1b[2J")
    makes.version({"porn": 50})
    evil = "fine\n#9 promote\x1b]0;owned\x07\u202e"
    promoting.promote(params, None, reason=evil, overrides=["class_recall", "unsafe_recall"], test_change=evil)
    lines = history(params).lines()
    assert all(line.isprintable() for line in lines)
    assert sum("promote" in line and line.startswith("  #") for line in lines) == 1


def test_plain_keeps_text_and_cuts_it():
    assert plain("zażółć – 漢字") == "zażółć – 漢字"
    assert plain("x" * 400) == "x" * 300
    assert plain("a\tb\x00c\u2028d") == "a b c d"


def test_the_table_with_what_failed_first(makes, params):
    makes.version({"porn": 50})
    lines = gate_lines(promoting.judge(params).table)
    assert lines[0] == "gates: 2 of 16 failed: class_recall, unsafe_recall"
    assert [line.split()[1] for line in lines[1:4]] == ["fail", "fail", "pass"]
    assert lines[-1].split()[1] == "n/a"
    assert gate_lines([]) == ["gates: not judged, as MLflow did not answer; `nsfw gates` judges"]
