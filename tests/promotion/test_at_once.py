"""Others act at the same moment, or somebody pulls the plug."""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from pipeline.core.errors import UserError
from pipeline.params.root import load_params
from pipeline.promotion import moves, promoting
from pipeline.promotion.history import history
from pipeline.registry import ledger
from tests.support import versions

pytestmark = pytest.mark.untraced

# Promotes what it is told, in a folder of its own, so that no lock of this machine is shared; answers in lines of JSON.
RACER = """if True:
    import json, sys
    from pipeline.core.errors import UserError
    from pipeline.params.root import load_params
    from pipeline.promotion import promoting
    from pipeline.tracking import server
    server.prepare_environment()
    import mlflow
    params = load_params()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        version = line.strip()
        try:
            done = promoting.promote(params, version, reason="race")
            result = {"entry": done.entry and done.entry.number, "lost": done.lost, "findings": list(done.findings)}
        except UserError as error:
            result = {"entry": None, "lost": 0, "error": str(error), "findings": []}
        print(json.dumps(result), flush=True)
"""


class Racer:
    """A process that promotes on command, with its own working directory."""

    def __init__(self, folder, params_file, version):
        folder.mkdir()
        (folder / "params.yaml").write_text(params_file.read_text(encoding="utf-8"), encoding="utf-8")
        self.version = version
        root = str(versions._ROOT)
        with (folder / "stderr.txt").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RACER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": root},
            )

    def read_result(self):
        line = self.process.stdout.readline()
        assert line, "the racer has died; its stderr.txt says why"
        return json.loads(line)

    def go(self):
        self.process.stdin.write(f"{self.version}\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def act_before_entry(monkeypatch, act):
    """Let another process act once, after a promoter has read the ledger and before its entry."""
    enter, pending = moves.enter, [act]

    def late(*arguments):
        if pending:
            pending.pop()()
        return enter(*arguments)

    monkeypatch.setattr(moves, "enter", late)


def test_two_who_take_back_the_same_do_not_go_two_steps_back(makes, params, monkeypatch):
    for number in range(3):
        makes.version()
        promoting.promote(params, None, reason=f"{number}")
    act_before_entry(monkeypatch, lambda: promoting.rollback(params, None, reason="I too"))
    with pytest.raises(UserError, match="somebody else moved production away from version 3"):
        promoting.rollback(params, None, reason="3 is bad")
    assert makes.production() == 2
    assert history(params).now.findings() == []


def test_who_rolls_back_does_not_take_back_what_another_has_promoted_meanwhile(makes, params, monkeypatch):
    """1, then 2, which is bad. A second person promotes 3; "the one before" would be 2 again."""
    for number in range(3):
        makes.version()
        if number < 2:
            promoting.promote(params, None, reason=f"{number}")
    act_before_entry(monkeypatch, lambda: promoting.promote(params, "3", reason="mends it"))
    with pytest.raises(UserError, match="See `nsfw history`, then say where to"):
        promoting.rollback(params, None, reason="2 is bad")
    assert makes.production() == 3


def test_who_says_where_to_gets_there_after_a_lost_race(makes, params, monkeypatch):
    for number in range(3):
        makes.version()
        promoting.promote(params, None, reason=f"{number}")
    act_before_entry(monkeypatch, lambda: promoting.rollback(params, "2", reason="I too"))
    done = promoting.rollback(params, "1", reason="3 is bad")
    assert (done.version, done.previous, done.lost) == (1, 2, 1)
    assert makes.production() == 1


def test_who_loses_a_race_is_judged_against_the_winner(makes, params, monkeypatch):
    makes.version({"porn": 10})
    promoting.promote(params, None, reason="base")
    makes.version({"porn": 5})
    makes.version({"porn": 8})
    act_before_entry(monkeypatch, lambda: promoting.promote(params, "2", reason="better"))
    outcome = promoting.promote(params, "3", reason="worse than 2, better than 1")
    assert (outcome.entry, outcome.previous, outcome.lost) == (None, 2, 1)
    assert "drop_unsafe_recall" in outcome.failed
    assert makes.production() == 2


def test_a_request_that_is_sent_twice_as_its_answer_was_lost_is_one_promotion(makes, params, monkeypatch, client):
    makes.version()
    create = type(client).create_model_version

    def twice(self, *arguments, **named):
        create(self, *arguments, **named)
        return create(self, *arguments, **named)

    monkeypatch.setattr(type(client), "create_model_version", twice)
    outcome = promoting.promote(params, None, reason="r")
    assert outcome.entry is not None
    assert (outcome.entry.number, outcome.lost) == (1, 0)
    assert makes.production() == 1
    assert history(params).now.findings() == []
    assert any("VOID: sent twice" in line for line in history(params).lines())


def test_production_deleted_is_told_and_another_can_be_promoted_over_it(makes, params, client):
    makes.version()
    promoting.promote(params, None, reason="r")
    makes.version()
    client.delete_model_version("nsfw", "1")
    outcome = promoting.promote(params, None, reason="r", test_change="unknown")
    assert outcome.entry is None
    assert "version 1 has been deleted" in next(g.reason for g in outcome.table if g.gate == "drop_macro_recall")
    assert "has been deleted" in outcome.findings[0]
    assert promoting.promote(params, None, reason="r", overrides=outcome.failed).entry is not None
    assert (makes.production(), history(params).now.findings()) == (2, [])


def test_what_is_put_right_is_told_and_what_is_not_too(makes, params, client):
    makes.version()
    promoting.promote(params, None, reason="r")
    client.create_model_version("nsfw-ledger", "s3://b/x")
    client.delete_registered_model_alias("nsfw", "production")
    with pytest.raises(UserError) as caught:
        promoting.promote(params, "1", reason="r")
    first, gone, foreign = str(caught.value).splitlines()
    assert "is in production already" in first
    assert gone.startswith("put right: the alias production is gone")
    assert foreign.startswith("WARNING: nsfw-ledger holds version 2")
    assert makes.production() == 1


@pytest.mark.parametrize("words", ["\udcff", "x" * 5001])
def test_words_that_cannot_be_stored_are_refused_before_anything_happens(makes, params, client, words):
    makes.version()
    with pytest.raises(UserError, match="--reason has more than 5,000 characters, or is not UTF-8"):
        promoting.promote(params, None, reason=words)
    with pytest.raises(UserError, match="--test-change has more than"):
        promoting.promote(params, None, reason="r", test_change=words)
    assert ledger.read(client, "nsfw").entries == ()


@pytest.mark.slow
def test_races_on_a_server_without_any_lock_never_leave_the_worse_model(mlflow_server, project, tmp_path, params):
    """As from two machines: the turn that the sessions of one take would hide what the ledger must do by itself."""
    rounds = int(os.environ.get("NSFW_RACES", "10"))
    mlflow_server.start()
    import mlflow

    client = mlflow.MlflowClient(mlflow_server.uri)
    makes = versions.VersionMaker(client)
    base = makes.version({"drawings": 30, "porn": 15})
    good, bad = makes.version({"porn": 2}), makes.version({"porn": 12})
    promoting.promote(params, str(base), reason="base")
    racers = [Racer(tmp_path / f"racer{version}", project / "params.yaml", version) for version in (good, bad)]
    assert [racer.read_result() for racer in racers] == ["ready", "ready"]
    lost, alarms = 0, []
    for number in range(rounds):
        for racer in racers if number % 2 else racers[::-1]:
            racer.go()
        results = [racer.read_result() for racer in racers]
        assert makes.production() == good, results
        assert ledger.read(client, "nsfw").production == good
        assert results[0]["entry"] is not None, results
        lost += sum(row["lost"] for row in results)
        alarms += [
            finding for row in results for finding in row["findings"] if "PAST" in finding or "BROKEN" in finding
        ]
        promoting.rollback(params, str(base), reason="next race")
    for racer in racers:
        racer.end()
    entries = ledger.read(client, "nsfw")
    assert [entry.number for entry in entries.entries] == list(range(1, len(entries.entries) + 1))
    assert (entries.missing, entries.invalidated, entries.unreadable, entries.broken) == ((), (), (), False)
    assert alarms == []
    void = len(entries.entries) - len(entries.effective)
    assert void == lost
    print(f"{rounds} races: {lost} judged again against the winner, {void} void entries of {len(entries.entries)}")


def promote_for_ever(ready):
    """Promote 1 and 2 in turns until killed."""
    params = load_params()
    version = 1
    ready.set()
    while True:
        with suppress(UserError):
            promoting.promote(params, str(version), reason="and again")
        version = 3 - version


@pytest.mark.slow
def test_killed_at_any_moment_it_is_old_or_new_and_the_next_command_says_and_settles_it(makes, params, client):
    kills = int(os.environ.get("NSFW_KILLS", "5"))
    makes.version()
    makes.version()
    promoting.promote(params, "1", reason="first")
    context, moments = multiprocessing.get_context("spawn"), random.Random(5)
    interrupted = []
    for _ in range(kills):
        ready = context.Event()
        process = context.Process(target=promote_for_ever, args=(ready,), daemon=True)
        process.start()
        assert ready.wait(timeout=120)
        time.sleep(1 + moments.random() * 3)
        before = len(ledger.read(client, "nsfw").effective)
        process.kill()
        process.join(timeout=30)
        now = history(params).now
        assert len(now.ledger.effective) >= before > 0
        assert now.production in {1, 2}
        assert now.aliased in {now.production, now.ledger.last.draft.previous}
        assert not now.ledger.broken
        assert (now.ledger.missing, now.ledger.unreadable, now.ledger.invalidated) == ((), (), ())
        expected = [] if now.aliased == now.production else ["was cut short"]
        assert [("was cut short" in finding) for finding in now.findings()] == [True] * len(expected)
        interrupted.append(len(expected))
        other = 3 - now.production
        assert promoting.promote(params, str(other), reason="after the kill").entry is not None
        assert (makes.production(), history(params).now.findings()) == (other, [])
    print(f"{kills} kills, {sum(interrupted)} of them between entry and alias")
