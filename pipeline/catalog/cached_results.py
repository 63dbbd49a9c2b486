"""The measured rows of every shard, cached by the shard's bytes: a new batch costs only its own size.

A result that says more about a worker's end than about the picture (timeout, memory, crash) is no verdict: it is
measured again by every run of the stage.
"""

import hashlib
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from pipeline.catalog import measure
from pipeline.core import code_digests, executor, files, paths, tables
from pipeline.data.shards import members_of
from pipeline.images import loading, sandbox
from pipeline.images.limits import Limits
from pipeline.params.catalog import Catalog

_log = logging.getLogger(__name__)


def recipe(params: Catalog) -> str:
    """Return a digest of everything that a result depends on, except the shard's bytes."""
    code = code_digests.digest("pipeline.catalog.measure")
    return hashlib.sha256((params.model_dump_json() + loading.libraries() + code).encode()).hexdigest()


def cache_path(shard: Path, recipe_digest: str) -> Path:
    """Return the path of a shard's cached results: keyed by its bytes, its name and the recipe."""
    key = hashlib.sha256((files.sha256_of(shard) + shard.name + recipe_digest).encode()).hexdigest()
    return paths.CATALOG_CACHE / f"{key}.parquet"


def measure_all(shard_files: Sequence[Path], params: Catalog) -> list[Path]:
    """Return the paths of the results of every shard, in order; measure the shards that have none yet."""
    digest = recipe(params)
    cached = {shard: cache_path(shard, digest) for shard in shard_files}
    new = [shard for shard, path in cached.items() if not path.exists()]
    limits = Limits(**params.limits)
    cost = sandbox.WorkerLimits(params.seconds, params.memory_mb, executor.sandbox_workers(len(new)))
    with tqdm(desc="catalog", total=len(new), unit="shard", disable=None if new else True, leave=False) as bar:
        measured = executor.map_shards(partial(measure.measure_shard, limits, cost), new)
        for shard, rows in zip(new, measured, strict=True):
            frame = pd.DataFrame(rows, columns=list(measure.ROW)).sort_values("sha256")
            tables.write_parquet(frame, cached[shard])
            bar.update()
    return list(cached.values())


def measure_undecided(cached: Sequence[Path], params: Catalog) -> pd.DataFrame:
    """Return the rows of all shards, after measuring those without a verdict once more, one content at a time.

    What still has no verdict then is in quarantine until the next run of the stage.
    """
    results = read_results(cached)
    if not undecided(results).any():
        return results
    for path in cached:
        _measure_again(path, params)
    results = read_results(cached)
    if left := int(undecided(results).sum()):
        _log.warning(
            "%d contents are in quarantine without a verdict: their worker died, or ran out of time or memory. "
            "`dvc repro -f catalog` measures them again, and nothing else.",
            left,
        )
    return results


def _measure_again(path: Path, params: Catalog) -> None:
    """Replace the rows without a verdict in one shard's results, if there are any."""
    rows = tables.read_parquet(path)
    without = undecided(rows)
    members = members_of(rows.loc[without])
    if members:
        cost = sandbox.WorkerLimits(params.seconds, params.memory_mb)
        again = measure.measure_alone(Limits(**params.limits), cost, paths.SHARDS, members)
        frame = pd.DataFrame(again, columns=list(measure.ROW))
        merged = pd.concat([rows[~without], frame], ignore_index=True)
        tables.write_parquet(merged.sort_values("sha256"), path)


def undecided(results: pd.DataFrame) -> pd.Series:
    """Return for each row whether its reason is about a worker's end rather than about the content's bytes."""
    return ~results["reason"].map(sandbox.is_final).astype(bool)


def read_results(cached: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of all shards, without the fingerprints, which would not fit into memory together."""
    parts = [tables.read_parquet(path, measure.RESULT) for path in cached]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(measure.RESULT))
