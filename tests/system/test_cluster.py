"""The graph on a Dask cluster gives the bytes that one machine gives, though workers are killed in each part."""

import pytest

from pipeline.core import executor
from tests.support.dask_cluster import DaskCluster, Killer
from tests.support.system_helpers import make

pytestmark = [pytest.mark.slow, pytest.mark.rare]

STAGES = ("catalog", "dedupe", "split", "pack", "embed")
PARTS = ("measure_shard", "join_band", "run_chunk", "pack_all", "_extract_by_own_model")


def test_the_same_bytes_though_workers_are_killed_in_every_part(whole_run, sample, tiny_weights, tmp_path):
    project = make(tmp_path / "project", sample[0], tiny_weights)
    with DaskCluster(project.root, tmp_path / "logs", python_path=project.root) as dask:
        dask.add_workers(2)
        project.env[executor.SCHEDULER] = dask.address
        with Killer(dask.address, PARTS) as killer:
            done = project.repro("embed", "audit")
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
