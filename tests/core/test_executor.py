import os

import pytest

from pipeline.core import executor
from tests.support.tasks import inverse, process_id, sleepy


def test_results_come_in_order_whoever_ends_first():
    assert list(executor.map_shards(sleepy, [0.3, 0.0, 0.1, 0.0, 0.05])) == [0.3, 0.0, 0.1, 0.0, 0.05]


def test_one_shard_runs_in_this_process_and_several_do_not():
    assert list(executor.map_shards(process_id, [1])) == [os.getpid()]
    assert list(executor.map_shards(process_id, [])) == []
    if executor.cores() > 1:
        assert os.getpid() not in executor.map_shards(process_id, [1, 2])


@pytest.mark.parametrize("shards", [[0], [1, 0, 2, 4]])
def test_a_defect_is_raised_after_the_results_before_it(shards):
    results = executor.map_shards(inverse, shards)
    assert [next(results) for _ in range(shards.index(0))] == [1.0] * shards.index(0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_shards_share_the_cores_among_their_sandbox_workers(monkeypatch):
    monkeypatch.setattr(executor, "cores", lambda: 8)
    assert [executor.sandbox_workers(shards) for shards in (0, 1, 2, 3, 8, 100)] == [8, 8, 4, 2, 1, 1]
