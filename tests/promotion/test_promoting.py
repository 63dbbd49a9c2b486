import multiprocessing
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.params.root import load_params
from pipeline.promotion import gates, promoting
from pipeline.promotion.history import history
from pipeline.registry import ledger
from tests.support.versions import predictions

pytestmark = pytest.mark.untraced


def by_name(outcome):
    return {gate.gate: gate for gate in outcome.table}


def test_the_first_challenger_is_promoted_with_its_table_in_the_ledger(makes, params, client):
    version = makes.version()
    outcome = promoting.promote(params, None, reason="first")
    assert (outcome.version, outcome.previous, outcome.failed) == (version, None, []), outcome.table[0].reason
    assert makes.production() == version
    (entry,) = ledger.read(client, "nsfw").effective
    assert (entry.draft.act, entry.draft.version, entry.draft.previous) == ("promote", version, None)
    assert entry.draft.reason == "first"
    assert {row["gate"] for row in entry.draft.gates} == {gate.gate for gate in outcome.table}
    assert by_name(outcome)["drop_class_recall"].status == "n/a"


def test_better_overall_but_worse_on_one_class_is_refused(makes, params):
    old = makes.version({"drawings": 20, "neutral": 20, "porn": 5})
    promoting.promote(params, None, reason="first")
    makes.version({"drawings": 2, "neutral": 25, "porn": 2})
    outcome = promoting.promote(params, None, reason="better on the whole")
    assert outcome.entry is None
    assert outcome.failed == ["drop_class_recall"]
    gate = by_name(outcome)["drop_class_recall"]
    assert gate.value == pytest.approx(0.05)
    assert gate.reason.startswith("neutral: 80.0 -> 75.0 % on 100 pictures")
    assert makes.production() == old


def test_a_fair_one_replaces_it_and_rollback_takes_it_back(makes, params):
    old = makes.version({"drawings": 10, "porn": 5})
    promoting.promote(params, None, reason="first")
    new = makes.version({"drawings": 8, "porn": 5})
    assert promoting.promote(params, None, reason="a bit better").entry is not None
    assert makes.production() == new
    back = promoting.rollback(params, None, reason="complaints")
    assert (back.version, back.previous, makes.production()) == (old, new, old)
    with pytest.raises(UserError, match="nothing was in production before version"):
        promoting.rollback(params, None, reason="again")
    assert promoting.rollback(params, str(new), reason="it was not that").version == makes.production() == new


def test_an_override_is_recorded_as_such(makes, params, client):
    makes.version()
    promoting.promote(params, None, reason="first")
    makes.version({"neutral": 10})
    refused = promoting.promote(params, None, reason="must go out")
    assert set(refused.failed) == {"drop_class_recall", "drop_macro_recall"}
    half = promoting.promote(params, None, reason="must go out", overrides=["drop_class_recall"])
    assert half.failed == ["drop_macro_recall"]
    done = promoting.promote(
        params, None, reason="must go out", overrides=["drop_class_recall", "drop_macro_recall", "size_mb"]
    )
    assert done.entry is not None
    assert ledger.read(client, "nsfw").last.draft.overrides == ("drop_macro_recall", "drop_class_recall")
    assert "overridden: drop_macro_recall, drop_class_recall" in "\n".join(history(params).lines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"requested": "9", "reason": "x"}, "no version 9; there are: 1"),
        ({"requested": "nonsense", "reason": "x"}, "no version nonsense"),
        ({"requested": None, "reason": "  "}, "--reason is empty"),
        ({"requested": None, "reason": "x", "overrides": ["speed"]}, "no such gate"),
    ],
)
def test_mistakes_are_told(makes, params, arguments, message):
    makes.version()
    with pytest.raises(UserError, match=message):
        promoting.promote(params, **arguments)
    assert makes.production() is None


def test_before_anything_is_registered(client, params):
    with pytest.raises(UserError, match=r"sqlite:///mlflow\.db has no model nsfw\. `dvc repro`"):
        promoting.promote(params, None, reason="x")


def test_rollback_without_a_production(makes, params):
    makes.version()
    with pytest.raises(UserError, match="nothing of nsfw was ever in production"):
        promoting.rollback(params, None, reason="x")


def test_rollback_goes_only_where_production_was(makes, params):
    makes.version()
    promoting.promote(params, None, reason="first")
    other = makes.version()
    with pytest.raises(UserError, match="was never in production"):
        promoting.rollback(params, str(other), reason="x")
    with pytest.raises(UserError, match="is in production already"):
        promoting.rollback(params, "1", reason="x")


def test_rollback_to_a_version_that_is_another_model_now_is_refused(makes, params, client):
    makes.version()
    promoting.promote(params, None, reason="first")
    makes.version()
    promoting.promote(params, None, reason="second")
    client.set_model_version_tag("nsfw", "1", "nsfw.model_sha256", "0" * 64)
    with pytest.raises(UserError, match="is not the model that was in production"):
        promoting.rollback(params, None, reason="x")
    client.delete_model_version("nsfw", "1")
    with pytest.raises(UserError, match="has been deleted"):
        promoting.rollback(params, None, reason="x")
    assert makes.production() == 2


def test_a_version_without_evidence_fails_every_gate(makes, params):
    makes.version()
    promoting.promote(params, None, reason="first")
    makes.version(with_evidence=False)
    outcome = promoting.promote(params, None, reason="x")
    assert {gate.status for gate in outcome.table} == {"fail"}
    assert "registered past the pipeline" in by_name(outcome)["evidence"].reason


def lose_artifacts():
    """What MLflow's database names is gone, and nothing is left of what was fetched before."""
    paths.EVIDENCE_CACHE.exists() and shutil.rmtree(paths.EVIDENCE_CACHE)
    Path("mlartifacts").rename("elsewhere")


def test_evidence_that_cannot_be_fetched_is_one_failure_that_nothing_overrides(makes, params):
    makes.version()
    lose_artifacts()
    for outcome in (
        promoting.judge(params),
        promoting.promote(params, None, reason="x"),
        promoting.promote(params, None, reason="x", overrides=gates.NAMES),
    ):
        assert [gate.gate for gate in outcome.table] == outcome.failed == ["evidence"]
        assert "cannot be fetched from file://" in outcome.unfetched
        assert outcome.entry is None
    assert makes.production() is None
    Path("elsewhere").rename("mlartifacts")
    assert promoting.promote(params, None, reason="x").unfetched == ""
    assert makes.production() == 1


def test_productions_evidence_that_cannot_be_fetched_is_named_once(makes, params):
    makes.version()
    promoting.promote(params, None, reason="first")
    lose_artifacts()
    makes.version()
    outcome = promoting.promote(params, None, reason="x")
    assert outcome.unfetched.startswith("production, version 1: its evidence cannot be fetched from file://")
    assert set(outcome.failed) == {"drop_unsafe_recall", "drop_macro_recall", "drop_class_recall", "test_set"}
    assert not any("file://" in gate.reason for gate in outcome.table)
    # Lost for good, production must still be replaced some day.
    assert promoting.promote(params, None, reason="its disk died", overrides=outcome.failed).entry is not None


def test_evidence_that_was_changed_is_not_believed(makes, params, client):
    version = makes.version({"porn": 50})
    registered = client.get_model_version("nsfw", str(version))
    client.set_model_version_tag("nsfw", str(version), "nsfw.evidence_sha256", "0" * 64)
    assert "cannot be fetched" in by_name(promoting.judge(params))["evidence"].reason
    other = makes.version()
    of_other = client.get_model_version("nsfw", str(other)).tags["nsfw.evidence_sha256"]
    sound = client.download_artifacts(client.get_model_version("nsfw", str(other)).run_id, f"evidence/{of_other[:12]}")
    client.log_artifacts(registered.run_id, sound, f"evidence/{of_other[:12]}")
    client.set_model_version_tag("nsfw", str(version), "nsfw.evidence_sha256", of_other)
    assert "is about another model" in by_name(promoting.judge(params, str(version)))["evidence"].reason


def test_a_changed_test_set_must_be_named(makes, params, client):
    makes.version()
    promoting.promote(params, None, reason="first")
    grown = pd.concat([predictions(), predictions(each=10, first=200)], ignore_index=True)
    makes.version(frame=grown)

    def shown(before, after):
        return grown

    outcome = promoting.promote(params, None, reason="x", rescore=shown)
    assert outcome.failed == ["test_set"]
    assert "30 pictures more, 0 fewer, 0 relabelled" in by_name(outcome)["test_set"].reason
    done = promoting.promote(params, None, reason="x", rescore=shown, test_change="a new batch")
    assert done.entry is not None
    assert ledger.read(client, "nsfw").last.draft.test_change == "a new batch"


def test_pictures_that_production_was_never_shown_are_asked_for(makes, params):
    makes.version()
    promoting.promote(params, None, reason="first")
    makes.version(frame=predictions(first=50))
    outcome = promoting.promote(params, None, reason="x", test_change="other pictures")
    assert set(outcome.failed) == {"drop_unsafe_recall", "drop_macro_recall", "drop_class_recall"}
    assert "never shown 150 of 300 test pictures" in by_name(outcome)["drop_class_recall"].reason
    pairs = []

    def shown(before, after):
        pairs.append((before.version, after.version))
        return predictions({"porn": 90}, each=150)

    assert promoting.promote(params, None, reason="x", test_change="others", rescore=shown).entry is not None
    assert pairs == [(1, 2)]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("step", ["append", "sync_alias"])
def test_killed_before_or_after_the_entry_it_is_old_or_new(makes, params, monkeypatch, step):
    old = makes.version()
    promoting.promote(params, None, reason="first")
    new = makes.version()
    with monkeypatch.context() as patch:

        def kill(*_):
            raise Killed

        patch.setattr(ledger, step, kill)
        with pytest.raises(Killed):
            promoting.promote(params, None, reason="second")
    assert makes.production() == old
    now = history(params).now
    if step == "append":
        assert (now.production, now.findings()) == (old, [])
        return
    assert now.production == new
    assert "was cut short" in now.findings()[0]
    with pytest.raises(UserError, match="put right"):
        promoting.promote(params, None, reason="again")
    assert makes.production() == new
    assert history(params).now.findings() == []


def race(barrier, version, results, rounds):
    """Promote a version again and again, at the same moment as the other process."""
    params = load_params()
    for number in range(rounds):
        barrier.wait(timeout=120)
        try:
            outcome = promoting.promote(params, str(version), reason=f"race {number}")
            results.put((os.getpid(), number, version, outcome.entry and outcome.entry.number, outcome.lost))
        except UserError as error:
            results.put((os.getpid(), number, version, None, str(error)))
        barrier.wait(timeout=120)


@pytest.mark.slow
def test_races_of_two_processes_never_leave_the_worse_model(makes, params, client):
    rounds = int(os.environ.get("NSFW_RACES", "15"))
    base = makes.version({"drawings": 30, "porn": 15})
    good, bad = makes.version({"porn": 2}), makes.version({"porn": 12})
    assert promoting.promote(params, str(base), reason="base").entry is not None
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=race, args=(barrier, version, results, rounds), daemon=True) for version in (good, bad)
    ]
    for process in processes:
        process.start()
    lost = 0
    for _ in range(rounds):
        if makes.production() != base:
            promoting.rollback(params, str(base), reason="next race")
        barrier.wait(timeout=120)
        barrier.wait(timeout=120)
        assert makes.production() == good
        outcomes = [results.get(timeout=60) for _ in range(2)]
        (winner,) = [row for row in outcomes if row[2] == good]
        assert winner[3] is not None
        lost += sum(row[4] for row in outcomes if isinstance(row[4], int))
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    entries = ledger.read(client, "nsfw")
    assert [entry.number for entry in entries.entries] == list(range(1, len(entries.entries) + 1))
    assert entries.production == good
    print(f"{rounds} races, {lost} re-evaluated, {len(entries.entries) - len(entries.effective)} void entries")
