"""Decode every content once, safely: what is usable goes to the catalog, the rest to quarantine with its reason.

Reads   data/shards/*.tar, data/sightings/*.parquet
Writes  build/catalog.parquet, build/quarantine.csv, build/fingerprints.parquet (what dedupe finds copies by)
Keeps   .cache/catalog/: results by shard, so that a new batch costs its own size; what its worker died of, or had not
        the time or memory for, is no verdict about a picture, and is measured again by every run
Run     dvc repro catalog
"""

import hashlib
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline.catalog import fingerprint_table, measure
from pipeline.core import code_digests, executor, paths, tables
from pipeline.data import batch_names
from pipeline.data import sightings as seen
from pipeline.data.shards import Member
from pipeline.images import loading, sandbox
from pipeline.images.limits import Limits
from pipeline.params.catalog import Catalog
from pipeline.params.root import load_params

COLUMNS = (
    "sha256",
    "labels",
    "first_seen",
    "sources",
    "bytes",
    *measure.Measure._fields,
    "frame",
    "shard",
    "offset",
    "size",
)

_log = logging.getLogger(__name__)


def recipe(params: Catalog) -> str:
    """Digest everything but the bytes that a result depends on."""
    code = code_digests.digest("pipeline.catalog.measure")
    return hashlib.sha256((params.model_dump_json() + loading.libraries() + code).encode()).hexdigest()


def kept_at(shard: Path, recipe_digest: str) -> Path:
    """Return where a shard's results are kept: keyed by its bytes and the recipe."""
    with shard.open("rb") as opened:
        content = hashlib.file_digest(opened, "sha256").hexdigest()
    return (
        paths.CATALOG_CACHE / f"{hashlib.sha256((content + shard.name + recipe_digest).encode()).hexdigest()}.parquet"
    )


def measure_all(shard_files: Sequence[Path], params: Catalog) -> list[Path]:
    """Return where the results of every shard are kept, measuring only those whose results are not yet."""
    digest = recipe(params)
    places = {shard: kept_at(shard, digest) for shard in shard_files}
    new = [shard for shard, place in places.items() if not place.exists()]
    limits = Limits(**params.limits)
    cost = sandbox.Limits(params.seconds, params.memory_mb, executor.sandbox_workers(len(new)))
    with tqdm(desc="catalog", total=len(new), unit="shard", disable=None if new else True, leave=False) as bar:
        measured = executor.map_shards(partial(measure.measure_shard, limits, cost), new)
        for shard, rows in zip(new, measured, strict=True):
            frame = pd.DataFrame(rows, columns=list(measure.ROW)).sort_values("sha256")
            tables.write_parquet(frame, places[shard])
            bar.update()
    return list(places.values())


def settle(places: Sequence[Path], params: Catalog) -> pd.DataFrame:
    """Return the rows of all shards, after those without a verdict were measured once more, one at a time.

    Whoever is still without one is in quarantine until the next run of the stage.
    """
    results = read_results(places)
    if not unsettled(results).any():
        return results
    cost = sandbox.Limits(params.seconds, params.memory_mb)
    again = partial(measure.measure_alone, Limits(**params.limits), cost, paths.SHARDS)
    for place in places:
        rows = tables.read_parquet(place)
        open_rows = unsettled(rows)
        members = [Member(*row) for row in rows.loc[open_rows, list(Member._fields)].itertuples(index=False, name=None)]
        if members:
            frame = pd.DataFrame(again(members), columns=list(measure.ROW))
            settled = pd.concat([rows[~open_rows], frame], ignore_index=True)
            tables.write_parquet(settled.sort_values("sha256"), place)
    results = read_results(places)
    if left := int(unsettled(results).sum()):
        _log.warning(
            "%d contents are in quarantine without a verdict: their worker died, or ran out of time or memory. "
            "`dvc repro -f catalog` measures them again, and nothing else.",
            left,
        )
    return results


def unsettled(results: pd.DataFrame) -> pd.Series:
    """Return which rows tell of a worker's end, not of the bytes."""
    return ~results["reason"].map(sandbox.is_final).astype(bool)


def read_results(places: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of all shards, without the fingerprints, which would not fit into memory together."""
    parts = [tables.read_parquet(place, measure.RESULT) for place in places]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(measure.RESULT))


def catalog(sightings: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return the usable contents, sorted by sha256, with what their sightings say of them."""
    stored = sightings[sightings["status"] == "stored"]
    owners, contents = pd.factorize(stored["sha256"], sort=True)
    by_content = stored[["fetched_at", "bytes"]].groupby(owners)
    known = pd.DataFrame(
        {
            "sha256": contents,
            "labels": distinct(owners, stored["label"]),
            "first_seen": by_content["fetched_at"].min(),
            "sources": distinct(owners, stored["source"]),
            "bytes": by_content["bytes"].first(),
        }
    )
    usable = results[results["reason"] == ""].drop_duplicates("sha256")
    return known.merge(usable, on="sha256").sort_values("sha256")[list(COLUMNS)]


def distinct(owners: np.ndarray, values: pd.Series) -> list[list[str]]:
    """Return each owner's distinct values, sorted; owners are 0, 1, 2, ... and each has a value."""
    codes, uniques = pd.factorize(values, sort=True)
    names = uniques.tolist()
    lists: list[list[str]] = [[] for _ in range(owners.max(initial=-1) + 1)]
    for pair in np.unique(owners * len(names) + codes).tolist():
        lists[pair // len(names)].append(names[pair % len(names)])
    return lists


def quarantine(sightings: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per file that cannot be used, with the reason: of ingest, decoder or removal, or lost bytes."""
    reasons = results.drop_duplicates("sha256").set_index("sha256")["reason"]
    verdict = sightings["sha256"].map(reasons).astype("str").fillna("missing_bytes: in no shard of data/shards")
    reason = sightings["reason"].where(sightings["status"] != "stored", verdict)  # refused, or taken down since
    rows = sightings.assign(reason=reason)[["sha256", "origin", "reason", "label", "source"]]
    return rows[rows["reason"] != ""].sort_values(["source", "origin", "sha256"])


def main() -> None:
    """Catalogue data/."""
    params = load_params()
    sightings = seen.load_some(paths.SIGHTINGS)
    places = measure_all(batch_names.shard_files(paths.SHARDS), params.catalog)
    results = settle(places, params.catalog)
    catalogued = catalog(sightings, results)
    tables.write_parquet(catalogued, paths.CATALOG)
    fingerprint_table.gather(places, catalogued["sha256"].tolist(), paths.FINGERPRINTS)
    unusable = quarantine(sightings, results)
    tables.write_csv(unusable, paths.QUARANTINE)
    _log.info("catalog: %d pictures, %d files in %s", len(catalogued), len(unusable), paths.QUARANTINE)
