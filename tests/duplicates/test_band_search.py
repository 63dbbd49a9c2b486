"""The search for candidate pairs on a Dask cluster finds what one machine finds."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import executor, paths
from pipeline.duplicates import band_search, candidates
from tests.support.dask_cluster import REPOSITORY, DaskCluster, Killer

pytestmark = pytest.mark.slow


def hashes(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Random hashes of 12 views: every fifth row is near the one before it, and 60 rows are the same to 100 bits."""
    words = rng.integers(0, 2**64, (rows, 12, 4), dtype=np.uint64)
    for row in range(4, rows, 5):
        words[row] = words[row - 1] ^ np.uint64(1 << int(rng.integers(64)))
    words[:60, :, :2] = words[0, 0, :2]
    return words


def test_the_same_pairs_though_a_worker_is_killed(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(REPOSITORY / "params.yaml", "params.yaml")
    bands = candidates.draw_bands(40, 16)
    with DaskCluster(tmp_path, tmp_path / "logs") as dask:
        dask.add_workers(2)
        monkeypatch.setenv(executor.SCHEDULER, dask.address)
        for words in (hashes(rng, 3000), hashes(rng, 2000)):  # the second must not be answered by the first's hashes
            here = candidates.search(words, bands, 40, hot=20)
            with Killer(dask.address, ["join_band"]) as killer:
                there = band_search.search(words, bands, 40, hot=20)
            assert killer.killed == {"join_band"}
            assert (there.hot_keys, there.not_compared) == (here.hot_keys, here.not_compared)
            assert here.hot_keys > 0
            assert len(here.left) > len(words) / 6
            for mine, theirs in zip(here[:3], there[:3], strict=True):
                np.testing.assert_array_equal(mine, theirs)
    assert not paths.HASHES_CACHE.exists()


def test_without_a_cluster_nothing_is_written(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(executor.SCHEDULER, "")
    words = hashes(rng, 100)
    pairs = band_search.search(words, candidates.draw_bands(40, 16), 40, hot=2_000)
    assert len(pairs.left) >= 20
    assert list(Path().iterdir()) == []
