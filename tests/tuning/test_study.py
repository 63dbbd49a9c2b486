"""The study: exact counts even if workers die; refusals that name what differs."""

import socket
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.params.root import Params, load_params
from pipeline.params.tune import Rung
from pipeline.tuning import rungs, slots, storage, study, trial


@pytest.fixture
def params(project) -> Params:
    """A project with placeholder files as the stages' outputs."""
    for path in study.INPUTS:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name, encoding="utf-8")
    return load_params()


def begun(params: Params) -> optuna.Study:
    return study.create(storage.connect("sqlite:///tune.db"), params)


def of(params: Params, trials: int, *more: Rung) -> Params:
    """The same params with so many trials, and further rungs."""
    return params.model_copy(update={"tune": params.tune.model_copy(update={"trials": trials, "rungs": more})})


def states(optuna_study: optuna.Study) -> list[str]:
    return [one.state.name for one in optuna_study.get_trials(deepcopy=False)]


def test_the_queue_holds_as_many_as_are_asked_for_and_begins_with_known_values(params):
    optuna_study = begun(params)
    slots.fill(optuna_study, of(params, 4))
    slots.fill(optuna_study, of(params, 4))
    assert states(optuna_study) == ["WAITING"] * 4
    first = optuna_study.ask()
    assert first.suggest_float("train.dropout.0", 0.0, 0.7) == 0.5
    optuna_study.tell(first, 0.5)
    slots.fill(optuna_study, of(params, 4))
    assert states(optuna_study) == ["COMPLETE", *["WAITING"] * 3]
    slots.fill(optuna_study, of(params, 6))  # the number is a total
    assert len(states(optuna_study)) == 6
    slots.fill(optuna_study, of(params, 2))  # fewer take nothing away
    assert len(states(optuna_study)) == 6


def test_a_failed_trial_comes_again_with_its_values(params):
    optuna_study = begun(params)
    slots.fill(optuna_study, of(params, 2))
    optuna_study.tell(optuna_study.ask(), 0.1)
    lost = optuna_study.ask()
    value = lost.suggest_float("train.dropout.0", 0.0, 0.7)
    optuna_study.tell(lost, state=TrialState.FAIL)
    slots.fill(optuna_study, of(params, 2))
    again = optuna_study.ask()
    assert again.number == 2
    assert again.suggest_float("train.dropout.0", 0.0, 0.7) == value
    optuna_study.tell(again, 0.2)
    assert slots.study_state(optuna_study, of(params, 2)).finished == 2


def test_a_slot_filled_twice_is_done_once(params):
    """Two machines filled the queue at the same time."""
    optuna_study = begun(params)
    for _ in range(2):
        optuna_study.enqueue_trial({}, user_attrs={rungs.SLOT: 0})
    first, second, stray = optuna_study.ask(), optuna_study.ask(), optuna_study.ask()
    assert [slots.is_surplus(optuna_study, one.number) for one in (first, second, stray)] == [False, True, True]
    optuna_study.tell(first, 0.5)
    assert slots.is_surplus(optuna_study, second.number)
    assert slots.study_state(optuna_study, of(params, 1)).finished == 1


def test_a_draw_depends_on_seed_and_number_alone(params):
    def values(seed: int, number: int) -> dict:
        optuna_study = optuna.create_study(sampler=study.sampler(params.tune, seed, number))
        one = optuna_study.ask()
        one.suggest_float("x", 0, 1)
        return one.params

    assert values(1, 5) == values(1, 5)
    assert values(1, 5) != values(1, 6)
    assert values(1, 5) != values(2, 5)


def test_the_winner_is_the_best_completed_trial(params):
    for objective, best in (("macro_recall", 1), ("log_loss", 0)):
        tune = params.tune.model_copy(update={"objective": objective, "study": objective})
        optuna_study = begun(params.model_copy(update={"tune": tune}))
        for value in (0.2, 0.8, 0.5):
            optuna_study.tell(optuna_study.ask(), value)
        pruned = optuna_study.ask()
        pruned.report(0.9, 1)
        optuna_study.tell(pruned, state=TrialState.PRUNED)
        assert slots.best_trial(optuna_study).number == best


def test_a_study_of_other_data_or_params_is_refused_by_name(params):
    begun(params)
    begun(params)
    tune = params.tune
    more = params.model_copy(update={"tune": tune.model_copy(update={"trials": tune.trials + 1})})
    assert study.identity(more) == study.identity(params)  # more trials are no other study
    searched = params.model_copy(update={"train": params.train.model_copy(update={"l2": 0.01})})
    assert study.identity(searched) == study.identity(params)  # nor are other values of what is searched
    changed = params.model_copy(update={"tune": tune.model_copy(update={"epochs": tune.epochs + 1})})
    with pytest.raises(UserError, match=r"other tune.epochs: .*--study nsfw-2"):
        begun(changed)
    paths.SPLITS.write_text("other pictures", encoding="utf-8")
    with pytest.raises(UserError, match=r"made with other build/splits.parquet"):
        begun(params)
    with pytest.raises(UserError, match="splits"):
        study.join(storage.connect("sqlite:///tune.db"), params)


@pytest.mark.parametrize(
    ("space", "arguments", "exit_code", "words"),
    [
        ({"train.l2": {"low": 0.1, "high": 1.0}}, (), 1, "leaves out 0.0005"),
        ({"train.l2": {"low": 0.0, "high": 1.0}}, (), 1, "made with other tune.space:"),
        ({}, ("--study", "a/b"), 1, "tune.study"),
        ({}, ("--anyway",), 2, "--anyway goes with --write"),
    ],
)
def test_the_command_refuses_in_a_message(params, nsfw, space, arguments, exit_code, words):
    Path(".dvc").mkdir()
    begun(params)
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["tune"]["space"] |= space
    paths.PARAMS.write_text(yaml.safe_dump(document), encoding="utf-8")
    code, output, errors = nsfw("tune", *arguments)
    assert (code, output) == (exit_code, "")
    assert words in errors
    assert "Traceback" not in errors


def test_there_must_be_something_to_join(params):
    with pytest.raises(UserError, match=r"no study 'nsfw'. Start it by `nsfw tune`"):
        study.join(storage.connect("sqlite:///tune.db"), params)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tune.db", ["no database URL", "sqlite:///tune.db", "postgresql"]),
        ("mongodb://x/y", ["mongodb", "no database URL"]),
        ("sqlite:////nowhere/at/all/tune.db", ["does not answer", "unable to open"]),
    ],
)
def test_a_storage_that_is_none_is_told(project, url, words):
    with pytest.raises(UserError) as caught:
        storage.connect(url)
    for word in words:
        assert word in str(caught.value)


def test_a_database_that_is_down_is_told_without_its_password(project):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"postgresql+psycopg://user:secret@127.0.0.1:{held.getsockname()[1]}/x"
        with pytest.raises(UserError) as caught:
            storage.connect(url)
    assert "does not answer" in str(caught.value)
    assert "the same command goes on" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_part_of_train_has_the_same_share_of_each_class_and_stays_when_data_grow():
    def frame(count: int) -> pd.DataFrame:
        rows = [(f"{number:064x}", label) for number in range(count) for label in ("a", "b")]
        return pd.DataFrame(
            [row for row in rows if row[1] == "a" or int(row[0], 16) % 5 == 0], columns=["sha256", "label"]
        )

    train = frame(200)
    train["sha256"] = train["sha256"] + train["label"]
    subset = train[train["sha256"].isin(trial.subset(train, 0.25))]
    assert subset["label"].value_counts().to_dict() == {"a": 50, "b": 10}
    assert trial.subset(train, 0.25) == trial.subset(train.sample(frac=1, random_state=3), 0.25)
    assert trial.subset(train, 1e-9) <= trial.subset(train, 0.02) <= trial.subset(train, 0.25)
    assert len(trial.subset(train, 1e-9)) == 2


def test_params_yaml_of_the_project_is_left_alone(params):
    before = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    begun(params)
    assert yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8")) == before


def test_a_trial_whose_worker_died_before_its_first_heartbeat_is_failed(tmp_path, monkeypatch):
    database = storage.connect(f"sqlite:///{tmp_path}/tune.db")
    optuna_study = optuna.create_study(storage=database)
    silent, alive = optuna_study.ask(), optuna_study.ask()
    database.record_heartbeat(alive._trial_id)
    storage.fail_trials_without_heartbeat(optuna_study)
    assert [one.state.name for one in optuna_study.get_trials()] == ["RUNNING", "RUNNING"]  # it may be about to begin
    monkeypatch.setattr(storage, "GRACE_SECONDS", -1)
    optuna.storages.fail_stale_trials(optuna_study)
    assert optuna_study.get_trials()[silent.number].state.name == "RUNNING"  # Optuna does not know of it
    storage.fail_trials_without_heartbeat(optuna_study)
    assert [one.state.name for one in optuna_study.get_trials()] == ["FAIL", "RUNNING"]
