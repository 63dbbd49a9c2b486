"""A worker's trials, in this process, on a small project whose stages have all run."""

import fcntl
import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from tensorflow.io import encode_png

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.params.root import Params, load_params
from pipeline.params.tune import Choices, Rung
from pipeline.tracking.run_record import RunRecord
from pipeline.training.packed_records import packed_files, pictures, write
from pipeline.tuning import report, rungs, search, slots, storage, study, trial, worker
from pipeline.tuning.worker_processes import WorkerConfig

pytestmark = pytest.mark.slow
URL = "sqlite:///tune.db"


def changed(params: Params, **tune) -> Params:
    return params.model_copy(update={"tune": params.tune.model_copy(update=tune)})


def schedule(params: Params, **values) -> Params:
    made = params.finetune.schedule.model_copy(update=values)
    return params.model_copy(update={"finetune": params.finetune.model_copy(update={"schedule": made})})


def frozen(params: Params, **tune) -> Params:
    """Params whose trials train the head alone, for tests of all but what is trained: half the time."""
    space = {name: searched for name, searched in params.tune.space.items() if name != "finetune.unfreeze"}
    none = params.finetune.model_copy(update={"unfreeze": "none"})
    return changed(params.model_copy(update={"finetune": none}), space=space, **tune)


def run_worker(params: Params) -> optuna.Study:
    made = study.create(storage.connect(URL), params)
    worker.run_trials(WorkerConfig(URL, params.tune.study, params.tune.trials, "parent"), params)
    return made


def records() -> dict[str, RunRecord]:
    loaded = [RunRecord.load(folder) for folder in sorted(paths.RUNS.iterdir())]
    return {record.document["tags"]["nsfw.trial"]: record for record in loaded}


def test_a_search_finishes_what_is_asked_and_never_needs_the_test_set(project_copy):
    for path in [*paths.PACKED.glob("test-*"), *paths.EMBEDDINGS.glob("test/*"), paths.PREDICTIONS]:
        path.unlink()
    shutil.rmtree(paths.METRICS)
    params = changed(load_params(), trials=2, startup_trials=1)  # the second is drawn by what the first gave
    first = run_worker(params)
    assert slots.study_state(first, params).finished == 2
    assert not [one for one in first.get_trials() if one.state not in slots.FINISHED]
    by_trial = records()
    assert sorted(by_trial) == ["0", "1"]
    for one in first.get_trials():
        record = by_trial[str(one.number)]
        assert record.id == one.user_attrs[study.RECORD]
        assert record.status == {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}[one.state.name]
        epochs = [line["metrics"] for line in record.metrics() if line["epoch"] is not None]
        assert [line["val_macro_recall"] for line in epochs][: len(one.intermediate_values)]
        assert {"val_recall/porn", "val_recall/neutral", "val_loss", trial.AT_PRECISION} <= epochs[0].keys()
        assert record.document["params"]["train.l2"] == one.params["train.l2"]
        assert record.document["params"]["searched.train.l2"] == one.params["train.l2"]
        if one.state == TrialState.COMPLETE:
            assert one.values == [max(line["val_macro_recall"] for line in epochs)]
    assert first.get_trials()[0].params["train.dropout.0"] == 0.5

    again = run_worker(changed(params, study="again"))  # the same seed, one worker
    assert search.table(again).to_csv() == search.table(first).to_csv()


def test_the_best_go_on_to_a_longer_rung_on_more_pictures(project_copy):
    params = frozen(load_params(), trials=3, rungs=(Rung(trials=2, epochs=3, subset=1.0),), pruner=None)
    params = params.model_copy(update={"finetune": params.finetune.model_copy(update={"epochs": 4})})
    made = run_worker(params)
    state = slots.study_state(made, params)
    assert (state.total, state.finished, state.rung, state.ended) == (5, 5, 2, True)
    table = search.table(made)
    assert list(table["rung"]) == [1, 1, 1, 2, 2]
    article, other = (one for one in made.get_trials() if rungs.of_trial(one) == 1)
    assert article.params == made.get_trials()[0].params
    second = max((one for one in made.get_trials()[1:3] if one.params != article.params), key=lambda one: one.values[0])
    assert other.params == second.params
    assert rungs.of_trial(slots.best_trial(made)) == 1
    epochs = {number: record.document["params"]["finetune.epochs"] for number, record in records().items()}
    assert list(epochs.values()) == [2, 2, 2, 3, 3]
    results = report.collect(made, params)
    assert [rung["finished"] for rung in results["rungs"]] == [3, 2]
    assert results["rungs"][1]["cost"] == 0.75
    assert results["rungs"][0]["agreement"] is None  # of two trials
    assert (
        sum(one.state == TrialState.COMPLETE for one in run_worker(params).get_trials()) == 5
    )  # nothing is left to do


def test_pictures_that_are_packed_anew_are_those_that_a_trial_learns_from(project_copy):
    params = load_params()

    def grey_levels() -> int:
        pixels = trial.load(params, 0.5).train.decoded
        return len(np.unique(pixels[0]))

    assert grey_levels() > 2
    for name in packed_files(paths.PACKED, "train"):
        rows = [
            (sha256.decode(), int(label), encode_png(picture // 128 * 255).numpy())
            for batch in pictures([name], params.backbone.size, 256).as_numpy_iterator()
            for picture, label, sha256 in zip(*batch, strict=True)
        ]
        write(Path(name), rows)
    assert grey_levels() == 2


def test_equal_values_are_not_trained_twice(project_copy, monkeypatch):
    trained = []
    plain = trial.train
    monkeypatch.setattr(trial, "train", lambda *given: trained.append(1) or plain(*given))
    space = {"finetune.optimizer": Choices(choices=("adam", "sgd"))}
    params = changed(frozen(load_params()), trials=5, space=space, pruner=None)
    made = run_worker(params)
    distinct = {tuple(one.params.values()) for one in made.get_trials()}
    assert len(trained) == len(distinct) <= 2
    repeats = [one for one in made.get_trials() if study.REUSES in one.user_attrs]
    assert len(repeats) == 5 - len(distinct)
    for one in repeats:
        twin = made.get_trials()[one.user_attrs[study.REUSES]]
        assert (one.values, one.params) == (twin.values, twin.params)
        assert records()[str(one.number)].status == "FINISHED"


def test_values_that_diverge_are_a_result(project_copy):
    params = schedule(changed(load_params(), trials=1, space={"train.l2": Choices(choices=(0.0005,))}), initial=1e30)
    one = run_worker(params).get_trials()[0]
    assert one.state == TrialState.PRUNED
    assert "diverged" in one.user_attrs[study.REASON]
    record = records()["0"]
    assert record.status == "FAILED"
    assert "diverged" in record.document["reason"]


@pytest.mark.rare
def test_two_objectives_have_a_front_and_no_pruning(project_copy):
    params = frozen(load_params(), trials=3, objective="log_loss", second="size_mb")
    made = run_worker(params)
    assert [one.state for one in made.get_trials()] == [TrialState.COMPLETE] * 3
    sizes = {one.values[1] for one in made.get_trials()}
    assert len(sizes) == 1
    assert 1 < sizes.pop() < 10
    assert made.best_trials
    assert slots.best_trial(made).values[0] == min(one.values[0] for one in made.get_trials())


def test_latency_is_measured(project_copy):
    made = run_worker(frozen(load_params(), trials=1, objective="unsafe_recall", second="latency_ms"))
    recall, latency = made.get_trials()[0].values
    assert 0 <= recall <= 1
    assert 0 < latency < 60_000


def test_trials_that_fail_one_after_the_other_end_the_worker_and_are_not_lost(project_copy, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(trial, "train", broken)
    params = frozen(load_params(), trials=1)
    with pytest.raises(UserError, match="3 trials failed one after the other; the last: a defect"):
        run_worker(params)
    monkeypatch.undo()
    monkeypatch.chdir(project_copy)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    made = run_worker(params)
    assert slots.study_state(made, params).finished == 1
    assert [one.state.name for one in made.get_trials()[:3]] == ["FAIL"] * 3


def test_a_trial_is_taken_while_no_other_worker_looks_and_trained_while_they_may(project_copy, monkeypatch):
    """Optuna does not lock a waiting trial on sqlite: two workers took the same one, and it had two runs."""
    held: dict[str, list[bool]] = {"taking": [], "training": []}

    def others_wait() -> bool:
        with (paths.TUNE / "queue.lock").open("a") as handle:
            try:
                fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    ask, train = optuna.Study.ask, worker._train

    def observed_ask(self, *arguments, **more):
        held["taking"].append(others_wait())
        return ask(self, *arguments, **more)

    def trained(*arguments):
        held["training"].append(others_wait())
        return train(*arguments)

    monkeypatch.setattr(optuna.Study, "ask", observed_ask)
    monkeypatch.setattr(worker, "_train", trained)
    run_worker(frozen(load_params(), trials=2))
    assert held == {"taking": [True, True], "training": [False, False]}
