"""Shards on a real Dask cluster: a scheduler and workers as processes, by address."""

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from pipeline.core import cluster, executor, paths
from pipeline.core.errors import UserError
from pipeline.diagnosis import services
from tests.support.dask_cluster import REPOSITORY, DaskCluster
from tests.support.tasks import deadly_for_workers, inverse, process_id, refused, sleepy, working_directory

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with params.yaml, as a project has."""
    root = tmp_path_factory.mktemp("shared")
    shutil.copyfile(REPOSITORY / "params.yaml", root / "params.yaml")
    return root


@pytest.fixture(scope="module")
def dask(folder, tmp_path_factory):
    with DaskCluster(folder, tmp_path_factory.mktemp("dask")) as started:
        started.add_workers(2)
        yield started


@pytest.fixture
def on_cluster(dask, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv(executor.SCHEDULER, dask.address)


def test_results_come_in_order_from_several_processes_of_the_shared_folder(on_cluster, folder, caplog):
    caplog.set_level("INFO")
    assert list(executor.map_shards(sleepy, [0.3, 0.0, 0.1, 0.0, 0.05])) == [0.3, 0.0, 0.1, 0.0, 0.05]
    assert list(executor.map_shards(sleepy, [])) == []
    processes = set(executor.map_shards(process_id, range(12)))
    assert os.getpid() not in processes
    assert len(processes) == 2
    assert set(executor.map_shards(working_directory, [1])) == {str(folder)}
    assert caplog.text.count("2 workers at tcp://127.0.0.1:") == 1
    assert "/status" in caplog.text  # of the dashboard
    assert executor.sandbox_workers(1) == 1


def test_errors_are_those_of_the_function_after_the_results_before_it(on_cluster):
    results = executor.map_shards(inverse, [1, 2, 0, 4])
    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(UserError, match="row 3 is wrong"):
        list(executor.map_shards(refused, [1]))


def test_a_shard_that_kills_its_workers_ends_in_this_process(on_cluster, caplog):
    """Nannies start the workers again. Shards that waited at a worker that died may be blamed, and end here, too."""
    results = list(executor.map_shards(deadly_for_workers, [1, 2, 3, 4]))
    assert [abs(number) for number in results] == [1, 2, 3, 4]
    assert results[1] == -2
    assert "it goes on in this process" in caplog.text


def test_other_params_of_a_worker_are_refused_before_the_first_shard(on_cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    paths.PARAMS.write_text(text.replace("seed: 1", "seed: 2"), encoding="utf-8")
    with pytest.raises(UserError, match=r"worker tcp://.* differs from this process: params\.yaml \w+ instead of"):
        list(executor.map_shards(sleepy, [0.0]))


def test_other_versions_are_named(on_cluster, monkeypatch):
    monkeypatch.setattr(cluster, "_version", lambda package: "1.0")
    with pytest.raises(UserError, match=r"numpy \d\S+ instead of 1\.0"):
        list(executor.map_shards(sleepy, [0.0]))


def test_workers_that_were_started_before_an_edit_are_refused(tmp_path):
    """What lies in the shared folder now is the same for both: what counts is the code that the worker runs."""
    ignored = shutil.ignore_patterns("weights", "__pycache__")
    shutil.copytree(REPOSITORY / "pipeline", tmp_path / "pipeline", ignore=ignored)
    shutil.copyfile(REPOSITORY / "params.yaml", tmp_path / "params.yaml")
    with DaskCluster(tmp_path, tmp_path / "logs", python_path=tmp_path) as dask:
        dask.add_workers(1)
        program = f"from pipeline.core import cluster; print(cluster.check({dask.address!r}))"

        def look() -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-c", program]
            return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

        assert look().stdout == "1\n"
        with (tmp_path / "pipeline/core/files.py").open("a", encoding="utf-8") as opened:
            opened.write("ANOTHER = 1\n")
        assert "differs from this process: code " in look().stderr


def test_workers_that_may_have_no_children_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    with DaskCluster(folder, tmp_path / "logs", daemon=True) as dask:
        dask.add_workers(1)
        monkeypatch.setenv(executor.SCHEDULER, dask.address)
        with pytest.raises(UserError, match="DASK_DISTRIBUTED__WORKER__DAEMON=false"):
            list(executor.map_shards(sleepy, [0.0]))


def test_workers_without_the_project_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    with DaskCluster(tmp_path, tmp_path / "logs") as dask:
        (tmp_path / "pipeline").mkdir()
        (tmp_path / "pipeline/__init__.py").touch()  # another package of that name
        dask.python_path = tmp_path
        dask.add_workers(1)
        monkeypatch.setenv(executor.SCHEDULER, dask.address)
        with pytest.raises(UserError, match="does not run this project"):
            list(executor.map_shards(sleepy, [0.0]))


def test_nsfw_doctor_asks_the_cluster(on_cluster, dask, monkeypatch):
    (sound,) = services.dask()
    assert (sound.status, sound.text) == ("ok", f"2 workers at {dask.address}")
    monkeypatch.setattr(cluster, "_version", lambda package: "1.0")
    (failed,) = services.dask()
    assert failed.status == "failed"
    assert "instead of 1.0" in failed.text
    monkeypatch.delenv(executor.SCHEDULER)
    assert services.dask() == []


def test_a_scheduler_that_dies_is_one_message(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    with DaskCluster(folder, tmp_path / "logs") as dask:
        dask.add_workers(1)
        monkeypatch.setenv(executor.SCHEDULER, dask.address)
        results = executor.map_shards(sleepy, [0.0, 60.0, 0.0])
        assert next(results) == 0.0
        dask.scheduler.kill()
        with pytest.raises(UserError, match=r"the scheduler at tcp://.* is gone\. Run the same command again"):
            next(results)


def test_workers_that_are_gone_for_good_are_one_message(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cluster, "_WITHOUT_WORKERS_SECONDS", 2.0)
    monkeypatch.setattr(cluster, "_POLL_SECONDS", 0.2)
    with DaskCluster(folder, tmp_path / "logs") as dask:
        monkeypatch.setenv(executor.SCHEDULER, dask.address)
        with pytest.raises(UserError, match="has had no worker for 2 s"):
            list(executor.map_shards(sleepy, [0.0]))
        dask.add_workers(1)
        monkeypatch.setattr(cluster, "_WITHOUT_WORKERS_SECONDS", 30.0)
        results = executor.map_shards(sleepy, [0.0, 60.0, 0.0])
        assert next(results) == 0.0
        monkeypatch.setattr(cluster, "_WITHOUT_WORKERS_SECONDS", 2.0)
        threading.Thread(target=dask.stop_workers).start()
        with pytest.raises(UserError, match="has had no worker for 2 s"):
            next(results)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "tcp://127.0.0.1"])
def test_an_address_that_nobody_answers_at_is_one_message(address, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1.0)
    monkeypatch.setenv(executor.SCHEDULER, address)
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"no Dask scheduler answers at .*docs/cluster\.md"):
        list(executor.map_shards(sleepy, [0.0]))
    assert time.monotonic() - begun < 20


def test_params_name_the_cluster_unless_the_environment_does(monkeypatch):
    monkeypatch.setenv(executor.SCHEDULER, "")
    executor.use(None)
    assert executor.scheduler() is None
    executor.use("tcp://one:1")
    executor.use("tcp://two:2")
    assert executor.scheduler() == "tcp://one:1"
