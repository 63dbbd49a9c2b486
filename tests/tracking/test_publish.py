import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.core.errors import StopRequestedError
from pipeline.registry.sync import sync
from pipeline.tracking import store_address
from pipeline.tracking.live_publisher import LivePublisher, tracked_run
from pipeline.tracking.publish import Publication, publish
from pipeline.tracking.run_record import RunRecord
from tests.support.tracking_helpers import begin, finished, runs, steps


def test_a_finished_record_is_all_there(client):
    record = finished()
    published = publish(record.folder)
    assert (published.complete, published.problem) == (True, "")
    (run,) = runs(client)
    assert run.info.run_id == published.run_id
    assert run.info.status == "FINISHED"
    assert run.info.run_name == record.document["name"]
    assert run.data.params == {"train.epochs": "3", "train.dropout": "[0.5, 0.25]", "seed": "null"}
    assert run.data.tags["nsfw.record_id"] == record.id
    assert run.data.tags["nsfw.version.keras"]
    assert steps(client, run.info.run_id, "val_recall/porn") == [0, 1, 2]
    assert run.data.metrics["val_recall/porn"] == pytest.approx(0.7)
    assert run.data.metrics["best_epoch"] == 2.0
    assert run.data.metrics["system/cpu_utilization_percentage"] == 50.0


def test_times_are_the_records_not_the_publications(client):
    record = finished()
    (line, *_) = record.metrics()
    run_id = publish(record.folder).run_id
    stored = {metric.step: metric.timestamp for metric in client.get_metric_history(run_id, "val_loss")}
    assert stored[0] == line["timestamp_ms"]
    info = client.get_run(run_id).info
    assert info.start_time <= line["timestamp_ms"] <= info.end_time


def test_inputs_have_name_digest_and_rows(client):
    record = finished()
    publish(record.folder)
    (run,) = runs(client)
    datasets = {entry.dataset.name: entry.dataset for entry in run.inputs.dataset_inputs}
    assert set(datasets) == {"in.csv", "packed"}
    assert record.document["inputs"][0]["digest"].startswith(datasets["in.csv"].digest)
    assert datasets["in.csv"].profile == '{"num_rows": 2}'


def test_files_can_be_browsed(client, project):
    run_id = publish(finished().folder).run_id
    assert {entry.path for entry in client.list_artifacts(run_id)} == {"record.json", "model", "plots"}
    assert [entry.path for entry in client.list_artifacts(run_id, "model")] == ["model/model.keras"]
    assert client.get_run(run_id).info.artifact_uri.startswith((project / "mlartifacts").as_uri())


def test_any_number_of_publications_leave_one_run(client):
    record = finished()
    record.copy_to(paths.HEAD)
    first = publish(record.folder)
    assert [publish(folder).run_id for folder in (record.folder, paths.HEAD, paths.HEAD)] == [first.run_id] * 3
    assert len(runs(client)) == 1
    assert steps(client, first.run_id, "val_loss") == [0, 1, 2]


def test_a_publication_cut_short_is_completed(client, monkeypatch):
    record = finished()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.tracking.publish._upload", _fail)
        assert publish(record.folder).problem == "MLflow refused: cut"
    (run,) = runs(client)
    assert run.info.status == "RUNNING"
    assert publish(record.folder).complete
    (run,) = runs(client)
    assert run.info.status == "FINISHED"
    assert steps(client, run.info.run_id, "val_loss") == [0, 1, 2]
    assert len(client.list_artifacts(run.info.run_id, "model")) == 1


def _fail(*_):
    raise RuntimeError("cut\nin the middle")


def test_a_running_record_grows_in_mlflow(client):
    record = begin()
    publication = Publication(record.folder)
    publication.advance()
    record.log_epoch(0, {"val_loss": 1.0})
    publication.advance()
    publication.advance()
    record.log_epoch(1, {"val_loss": math.nan})
    publication.advance()
    (run,) = runs(client)
    assert run.info.status == "RUNNING"
    assert steps(client, run.info.run_id, "val_loss") == [0, 1]
    record.fail("diverged")
    publication.advance()
    (run,) = runs(client)
    assert (run.info.status, run.data.tags["nsfw.reason"]) == ("FAILED", "diverged")


def test_two_runs_made_at_the_same_moment_become_one(client):
    record = finished()
    first = publish(record.folder).run_id
    copy = client.get_run(first)
    client.create_run(copy.info.experiment_id, tags={"nsfw.record_id": record.id})
    published = publish(record.folder)
    (run,) = runs(client)
    assert run.info.run_id == published.run_id
    assert steps(client, run.info.run_id, "val_loss") == [0, 1, 2]


def test_threads_that_publish_at_once_leave_one_run(client):
    record = finished()
    results = []
    threads = [threading.Thread(target=lambda: results.append(publish(record.folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.run_id for result in results}) == 1
    assert all(result.complete for result in results)
    assert len(runs(client)) == 1


@pytest.mark.slow
def test_processes_that_publish_at_once_into_no_store_yet_leave_one_run(project):
    record = finished()
    code = (
        "from pathlib import Path; from pipeline.tracking.publish import publish\n"
        f"print(publish(Path({str(record.folder)!r})).problem)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == [""] * 3
    import mlflow

    client = mlflow.MlflowClient(store_address.tracking_uri())
    (run,) = runs(client)
    assert steps(client, run.info.run_id, "val_loss") == [0, 1, 2]


def test_names_and_values_that_mlflow_refuses_are_made_fit(client):
    with RunRecord.start("train", params={"a,b": "x" * 9000}, inputs=[]) as record:
        record.log_epoch(0, {"recall, at 0.5 (€)": 0.5})
    assert publish(record.folder).problem == ""
    (run,) = runs(client)
    assert run.data.params["a_b"] == "x" * 6000
    assert run.data.metrics == {"recall_ at 0.5 ___": 0.5}


def test_thousands_of_metrics_go_in_batches(client):
    with begin() as record:
        for epoch in range(3):
            record.log_epoch(epoch, {f"m{number}": 1.0 for number in range(700)})
    run_id = publish(record.folder).run_id
    assert steps(client, run_id, "m699") == [0, 1, 2]


def test_a_deleted_experiment_is_named(client):
    client.delete_experiment(client.create_experiment("nsfw"))
    assert "'nsfw' is deleted" in publish(finished().folder).problem


def test_the_experiment_can_be_named(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "flowers")
    publish(finished().folder)
    (run,) = runs(client)
    assert client.get_experiment(run.info.experiment_id).name == "flowers"


def test_a_tracked_run_is_published_sampled_and_finished(client, caplog):
    with tracked_run("finetune", params={"seed": 1}, inputs=[]) as record:
        record.log_epoch(0, {"val_loss": 1.0})
        record.model_path.write_bytes(b"model")
    (run,) = runs(client)
    assert (run.info.status, run.data.tags["nsfw.complete"]) == ("FINISHED", "true")
    assert steps(client, run.info.run_id, "val_loss") == [0]
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(run.data.metrics)
    assert [entry.message[:20] for entry in caplog.records] == ["this run has no comm"]  # there is no git here


def test_a_tracked_run_that_raises_is_failed_there_too(client):
    with pytest.raises(KeyError), tracked_run("train", params={}, inputs=[]):
        raise KeyError("porn")
    (run,) = runs(client)
    assert (run.info.status, run.data.tags["nsfw.reason"]) == ("FAILED", "KeyError: 'porn'")


def test_sync_publishes_everything_and_keeps_what_a_living_process_needs(client):
    finished().copy_to(paths.HEAD)
    finished(epochs=1).copy_to(paths.FINETUNED)
    report = sync()
    assert report.problems == []
    assert len(runs(client)) == 2
    assert report.removed == []  # this process owns them, and may be about to copy them
    assert report.to_dict()["registration"] is None


def test_sync_ends_the_run_of_a_process_that_died_and_clears_it_away(client):
    code = (
        "from pipeline.tracking.run_record import RunRecord\n"
        "RunRecord.start('train', params={}, inputs=[]).log_epoch(0, {'l': 1.0})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    report = sync()
    (run,) = runs(client)
    assert run.info.status == "KILLED"
    assert steps(client, run.info.run_id, "l") == [0]
    assert run.info.end_time >= run.info.start_time
    assert len(report.removed) == 1
    assert list(paths.RUNS.iterdir()) == []
    assert sync().records == []
    assert len(runs(client)) == 1


DYING = """
import os, signal, sys
from pathlib import Path
from pipeline.tracking.live_publisher import tracked_run
with tracked_run("finetune", params={"seed": 1}, inputs=[], resumable=Path("checkpoints")) as record:
    record.log_epoch(0, {"val_loss": 1.0})
    record.log_epoch(1, {"val_loss": 0.9})
    record.log_summary({"best_epoch": 1.0})
    with (record.folder / "metrics.jsonl").open("a") as torn:
        torn.write('{"epoch": 2, "st')
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("published", [False, True], ids=["unseen", "ended as killed"])
def test_a_run_that_died_goes_on_as_one_run_with_one_curve(client, published):
    Path("checkpoints").mkdir()
    subprocess.run([sys.executable, "-c", DYING], check=False)
    (folder,) = paths.RUNS.iterdir()
    if published:
        assert sync().removed == []  # it can go on
        assert [run.info.status for run in runs(client)] == ["KILLED"]
    with tracked_run("finetune", params={"seed": 1}, inputs=[], resume=folder) as record:
        for epoch, loss in ((1, 0.9), (2, 0.8)):  # epoch 1 had been logged, not saved
            record.log_epoch(epoch, {"val_loss": loss})
        record.log_summary({"best_epoch": 2.0, "best_val_loss": 0.8})
    (run,) = runs(client)
    tags = run.data.tags
    assert (run.info.status, tags["nsfw.complete"], tags["nsfw.resumed"]) == ("FINISHED", "true", "1")
    assert not tags.get("nsfw.reason")
    assert steps(client, run.info.run_id, "val_loss") == [0, 1, 2]
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "val_loss")] == [1.0, 0.9, 0.8]
    samples = steps(client, run.info.run_id, "system/cpu_utilization_percentage")
    assert samples == sorted(set(samples))
    assert [line["epoch"] for line in record.metrics()] == [0, 1, None, 2, None]


def test_sync_clears_a_dead_run_away_once_it_can_no_longer_go_on(client):
    Path("checkpoints").mkdir()
    subprocess.run([sys.executable, "-c", DYING], check=False)
    assert sync().removed == []
    Path("checkpoints").rmdir()
    assert len(sync().removed) == 1


def test_a_run_that_was_asked_to_stop_is_killed_not_failed(client):
    with pytest.raises(StopRequestedError), tracked_run("train", params={}, inputs=[]):
        raise StopRequestedError("asked to stop at epoch 3")
    (run,) = runs(client)
    assert (run.info.status, run.data.tags["nsfw.reason"]) == ("KILLED", "asked to stop at epoch 3")


def test_sync_goes_past_a_broken_record(client):
    broken = paths.RUNS / "a-broken-one"
    broken.mkdir(parents=True)
    (broken / "record.json").write_text("{")
    finished()
    report = sync()
    assert len(runs(client)) == 1
    assert len(report.problems) == 1
    assert "a-broken-one" in report.problems[0]


@pytest.mark.slow
def test_a_killed_publication_leaves_no_lock(client):
    code = (
        "import os, signal; from pipeline.tracking import server\n"
        "with server.session(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    assert publish(finished().folder).complete


def test_the_live_publisher_ends_although_its_record_goes_on(client):
    record = begin()
    with LivePublisher(record) as live:
        record.log_epoch(0, {"val_loss": 1.0})
    assert live.run_id == runs(client)[0].info.run_id
    assert not live.complete
