"""Decode every content once, safely: usable pictures go to the catalog, the rest to quarantine with the reason.

Reads   data/shards/*.tar, data/sightings/*.parquet
Writes  build/catalog.parquet, build/quarantine.csv, build/fingerprints.parquet (by which dedupe finds copies)
Caches  .cache/catalog/: results by shard, so that a new batch costs only its own size (pipeline/catalog/cached_results)
Run     dvc repro catalog
"""

import logging

import numpy as np
import pandas as pd

from pipeline.catalog import cached_results, fingerprint_table, measure
from pipeline.core import paths, tables
from pipeline.data import batch_names
from pipeline.data import sightings as seen
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


def catalog(sightings: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each usable content, sorted by sha256: its measures, and the labels, sources and first date.

    `sightings`: rows of data/sightings; `results`: rows of `measure.RESULT`. The columns are COLUMNS.
    """
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
    """Return the sorted distinct `values` of each owner; `owners` are numbered 0, 1, 2, ... and each has a value."""
    codes, uniques = pd.factorize(values, sort=True)
    names = uniques.tolist()
    lists: list[list[str]] = [[] for _ in range(owners.max(initial=-1) + 1)]
    for pair in np.unique(owners * len(names) + codes).tolist():
        lists[pair // len(names)].append(names[pair % len(names)])
    return lists


def quarantine(sightings: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each file that cannot be used, with the reason.

    The reason comes from ingest (refused), from the decoder, or from a removal; or no shard holds the bytes.
    """
    reasons = results.drop_duplicates("sha256").set_index("sha256")["reason"]
    verdict = sightings["sha256"].map(reasons).astype("str").fillna("missing_bytes: in no shard of data/shards")
    reason = sightings["reason"].where(sightings["status"] != "stored", verdict)  # refused, or taken down since
    rows = sightings.assign(reason=reason)[["sha256", "origin", "reason", "label", "source"]]
    return rows[rows["reason"] != ""].sort_values(["source", "origin", "sha256"])


def main() -> None:
    """Catalogue data/."""
    params = load_params()
    sightings = seen.load_nonempty(paths.SIGHTINGS)
    cached = cached_results.measure_all(batch_names.shard_files(paths.SHARDS), params.catalog)
    results = cached_results.measure_undecided(cached, params.catalog)
    catalogued = catalog(sightings, results)
    tables.write_parquet(catalogued, paths.CATALOG)
    fingerprint_table.gather(cached, catalogued["sha256"].tolist(), paths.FINGERPRINTS)
    unusable = quarantine(sightings, results)
    tables.write_csv(unusable, paths.QUARANTINE)
    _log.info("catalog: %d pictures, %d files in %s", len(catalogued), len(unusable), paths.QUARANTINE)
