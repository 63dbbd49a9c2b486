"""The commands as a person or a program sees them: exit code, stdout, stderr."""

import csv
import json
import shutil
import time

import pytest

from pipeline.cli.terminal import print_result
from pipeline.core import paths
from pipeline.tracking import server
from tests.support.version_fixtures import client, makes, mlflow_server, params, postgres, project, store, template

__all__ = ["client", "makes", "mlflow_server", "params", "postgres", "project", "store", "template"]  # fixtures


def test_gates_promote_history_rollback(makes, nsfw):
    makes.version({"porn": 5})
    code, out, _ = nsfw("gates")
    assert code == 0
    assert "nsfw version 1 against nothing in production" in out
    assert out.splitlines()[-1] == "next: nsfw promote 1 --reason ..."
    assert makes.production() is None
    code, out, _ = nsfw("promote", "--reason", "first")
    assert code == 0
    assert "promoted: nsfw - -> 1, entry 1" in out
    makes.version()
    assert nsfw("promote", "2", "--reason", "second")[0] == 0
    code, out, _ = nsfw("rollback", "--reason", "complaints")
    assert (code, makes.production()) == (0, 1)
    assert "rolled back: nsfw 2 -> 1, entry 3" in out
    code, out, _ = nsfw("history")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["#3", "#2", "#1"]


def test_a_refusal_shows_the_table_and_the_way_out_and_exits_1(makes, nsfw):
    makes.version()
    nsfw("promote", "--reason", "first")
    makes.version({"porn": 30, "neutral": 1})
    code, out, _ = nsfw("promote", "--reason", "second")
    assert (code, makes.production()) == (1, 1)
    lines = out.splitlines()
    assert any(line.split()[:2] == ["drop_unsafe_recall", "fail"] for line in lines)
    assert any(line.split()[:2] == ["size_mb", "pass"] for line in lines)
    assert "Production stays 1." in lines[-2]
    refused = lines[-2].removeprefix("refused: ").partition(".")[0].split(", ")
    assert all(f"--override {name}" in lines[-1] for name in refused)
    assert nsfw("gates")[0] == 1
    overrides = [word for name in refused for word in ("--override", name)]
    code, out, _ = nsfw("promote", "--reason", "must go out", *overrides)
    assert (code, makes.production()) == (0, 2)
    assert f"over {', '.join(refused)}" in out


@pytest.mark.parametrize("lost", ["challenger", "production"])
def test_where_evidence_cannot_be_fetched_no_override_is_advised(makes, nsfw, lost):
    makes.version()
    if lost == "production":
        nsfw("promote", "--reason", "first")
    shutil.rmtree("mlartifacts")
    shutil.rmtree(".cache/evidence", ignore_errors=True)
    if lost == "production":
        makes.version()
    for command in (["gates"], ["promote", "--reason", "x"]):
        code, out, _ = nsfw(*command)
        assert code == 1
        assert "override" not in out
        assert "cannot be judged" in out
        assert "its evidence cannot be fetched from file://" in out
        assert out.splitlines()[-1].startswith("next: bring these files back")


def test_json_is_json_and_nothing_else(makes, nsfw):
    for _ in range(2):
        makes.version()
        nsfw("promote", "--reason", "r\x1b[31m\n")
    makes.version({"porn": 40})
    for *arguments, expected in [
        ["gates", 1],
        ["promote", "--reason", "r", 1],
        ["rollback", "--to", "1", "--reason", "r", 0],
        ["history", 0],
        ["trace", "1", 0],
        ["compare", "1", "2", 0],
    ]:
        code, out, _ = nsfw(*arguments, "--json")
        document = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        assert (document["model"], code) == ("nsfw", expected), arguments
        assert bool(document.get("failed")) == bool(expected), arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote"], "--reason"),
        (["rollback"], "--reason"),
        (["promote", "--reason", "  "], "--reason is empty"),
        (["rollback", "--reason", ""], "--reason is empty"),
        (["promote", "--reason", "r", "--override", "speed"], "no such gate"),
        (["promote", "--reason", "r", "--override", "all"], "no such gate"),
        (["compare", "1"], "B"),
        (["trace"], "VERSION"),
        (["history", "--yaml"], "--yaml"),
    ],
)
def test_wrong_usage_exits_2_before_anything_is_asked(project, nsfw, monkeypatch, arguments, message):
    monkeypatch.setattr(server, "session", lambda: pytest.fail("asked the server"))
    code, out, err = nsfw(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_mistake_is_one_message_and_exits_1(makes, nsfw):
    makes.version()
    nsfw("promote", "--reason", "first")
    for arguments, message in [
        (["promote", "9", "--reason", "r"], "nsfw has no version 9"),
        (["promote", "1", "--reason", "r"], "version 1 of nsfw is in production already"),
        (["rollback", "--reason", "r"], "nothing was in production before version 1"),
        (["trace", "challengers"], "nsfw has no version challengers"),
        (["compare", "1", "9"], "nsfw has no version 9"),
    ]:
        code, out, err = nsfw(*arguments)
        assert (code, out, err.count("error: ")) == (1, "", 1), arguments
        assert message in err
        assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["promote", "--reason", "r"], ["rollback", "--reason", "r"], ["history"]])
def test_a_dead_server_is_one_message_within_seconds(params, nsfw, monkeypatch, arguments):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    start = time.monotonic()
    code, out, err = nsfw(*arguments)
    assert time.monotonic() - start < 8
    assert (code, out) == (1, "")
    (line,) = err.strip().splitlines()
    assert "does not answer" in line
    assert "set MLFLOW_TRACKING_URI, and run this again" in line
    assert "secret" not in line


def test_past_the_gates_every_command_begins_with_it(makes, nsfw, client):
    makes.version()
    nsfw("promote", "--reason", "r")
    makes.version()
    client.set_registered_model_alias("nsfw", "production", "2")
    for arguments in (["history"], ["gates"], ["compare", "1", "2"]):
        assert nsfw(*arguments)[1].startswith("WARNING: WENT PAST THE GATES"), arguments
    code, _, err = nsfw("verify")
    assert code == 1
    assert "WENT PAST THE GATES" in err
    assert "--allow-unverified" in err
    code, out, _ = nsfw("rollback", "--to", "1", "--reason", "not so")
    assert (code, makes.production()) == (0, 1)
    assert out.startswith("WARNING: WENT PAST THE GATES")
    assert not nsfw("history")[1].startswith("WARNING")


def test_what_others_wrote_does_not_reach_the_terminal_raw(makes, nsfw, client):
    evil = "x\x1b]0;owned\x07\x1b[2J\u202e"
    version = makes.version(facts_more={"record_id": evil, "params": {evil: evil}}, document_more={"unsafe": ["porn"]})
    client.set_model_version_tag("nsfw", str(version), "nsfw.data_md5", evil)
    client.set_model_version_tag("nsfw", str(version), "nsfw.record_id", evil)
    for arguments in (["gates"], ["promote", "--reason", evil], ["history"], ["trace", "1"], ["trace", evil]):
        _, out, err = nsfw(*arguments)
        assert all(char.isprintable() or char == "\n" for char in out + err), arguments
        assert "x" in out + err


def test_compare_writes_what_changed_sides(makes, nsfw, tmp_path):
    makes.version()
    makes.version({"porn": 2})
    code, out, _ = nsfw("compare", "1", "2", "--out", str(tmp_path / "moved.csv"))
    assert code == 0
    assert out.splitlines()[-1] == f"wrote {tmp_path / 'moved.csv'}: 2 pictures"
    with (tmp_path / "moved.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["side"] for row in rows] == ["newly missed"] * 2


def test_outside_a_project(tmp_path, nsfw, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = nsfw("history")
    assert code == 1
    assert str(paths.PARAMS) in err


def test_tell_keeps_line_breaks_and_json_keeps_everything(capsys):
    print_result({}, ["one\ntwo", "zażółć\t\x1b[1m"], as_json=False)
    assert capsys.readouterr().out == "one\ntwo\nzażółć  [1m\n"
    print_result({"reason": "\x1b"}, [], as_json=True)
    assert json.loads(capsys.readouterr().out) == {"reason": "\x1b"}
