"""The graph on a Dask cluster gives the bytes that one machine gives, though workers are killed in each part."""

import threading

import psutil
import pytest

from pipeline.core import executor
from tests.support.dask_cluster import DaskCluster
from tests.support.system_helpers import make

pytestmark = [pytest.mark.slow, pytest.mark.rare]

STAGES = ("catalog", "dedupe", "split", "pack", "embed")
PARTS = ("measure_shard", "run_chunk", "pack_all", "_extract_by_own_model")


class Killer(threading.Thread):
    """Kills a worker the first time that it is seen to work on each of the PARTS."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address, self.killed, self.ended = address, set(), threading.Event()

    def run(self) -> None:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            while not self.ended.wait(0.02):
                for worker, keys in client.processing().items():
                    parts = {part for part in PARTS for key in keys if str(key).startswith(part)} - self.killed
                    if parts and kill_listener(worker):
                        self.killed |= parts


def kill_listener(worker: str) -> bool:
    """Kill the process that listens at a worker's address."""
    port = int(worker.rsplit(":", 1)[1])
    for connection in psutil.net_connections("tcp"):
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
            psutil.Process(connection.pid).kill()
            return True
    return False


def test_the_same_bytes_though_workers_are_killed_in_every_part(whole_run, sample, tiny_weights, tmp_path):
    project = make(tmp_path / "project", sample[0], tiny_weights)
    with DaskCluster(project.root, tmp_path / "logs", python_path=project.root) as dask:
        dask.add_workers(2)
        project.env[executor.SCHEDULER] = dask.address
        killer = Killer(dask.address)
        killer.start()
        done = project.repro("embed", "audit")
        killer.ended.set()
        killer.join(timeout=30)
    assert "workers at tcp://127.0.0.1:" in done.stderr
    assert killer.killed == set(PARTS)
    local, here = whole_run[0].locked(), project.locked()
    assert {stage: here[stage] for stage in STAGES} == {stage: local[stage] for stage in STAGES}
    assert here["audit"] == local["audit"]


def test_a_scheduler_that_is_gone_is_one_message_and_the_same_command_goes_on(sample, tiny_weights, tmp_path):
    project = make(tmp_path / "project", sample[0], tiny_weights)
    project.change("compute", scheduler="tcp://127.0.0.1:9")
    refused = project.repro("catalog", check=False)
    assert refused.returncode != 0
    assert "error: no Dask scheduler answers at tcp://127.0.0.1:9" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (project.root / "build/catalog.parquet").exists()
    project.change("compute", scheduler=None)
    assert project.ran(project.repro("catalog")) == ["catalog"]
