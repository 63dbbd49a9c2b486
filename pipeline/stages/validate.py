"""Check sightings and catalog against the rules of their tables, and against the thresholds of params.yaml.

Reads   data/sightings/*.parquet, build/catalog.parquet, build/quarantine.csv, params: labels, validate
Writes  reports/data_docs/ (HTML: open index.html), metrics/validate.json
Run     dvc repro validate

A broken rule of severity `error` stops the run, after the report is written; one of severity `warn` is logged.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.core.tables import read_csv, read_parquet
from pipeline.data import batch_names
from pipeline.data import sightings as seen
from pipeline.params.root import Params, load_params
from pipeline.validation import aggregates, rule_results
from pipeline.validation.data_docs import facts, run_suites
from pipeline.validation.suites import (
    CATALOG_COLUMNS,
    SIGHTING_COLUMNS,
    Suite,
    catalog_suite,
    share_suites,
    sightings_suite,
)

_log = logging.getLogger(__name__)

QUARANTINE_COLUMNS = ("sha256", "origin", "reason", "label", "source")
METRICS = paths.METRICS / "validate.json"


def read_sightings(directory: Path) -> pd.DataFrame:
    """Read every batch's sightings, sorted by content and origin; with the columns that all batches have.

    Raises:
        UserError: if there is no batch, or one cannot be read.

    """
    tables = [read_parquet(path) for path in batch_names.sighting_tables(directory)]
    if not tables:
        raise UserError(f"{directory} holds no sightings. Run `nsfw ingest folder DIR`, or `dvc pull data.dvc`.")
    rows = pd.concat(tables, join="inner", ignore_index=True)
    if {"sha256", "status", "reason"} <= set(rows.columns):
        rows = seen.mark_removed(rows, directory)
    return _sorted(rows, ["sha256", "origin", "source"])


def build_suites(
    sightings: pd.DataFrame, catalog: pd.DataFrame, quarantine: pd.DataFrame, params: Params
) -> tuple[list[Suite], dict[str, Any]]:
    """Return the suites, and the counts for the metrics. Where a column is missing, only the columns are checked."""
    lacking = (set(SIGHTING_COLUMNS) - set(sightings)) | (set(CATALOG_COLUMNS) - set(catalog))
    if lacking:
        return [sightings_suite(sightings, params.labels.names), catalog_suite(aggregates.flat(catalog))], {}
    sightings = sightings.copy()
    sightings["found_in"] = aggregates.locate(sightings, catalog["sha256"], quarantine["sha256"])
    sizes = aggregates.class_sizes(catalog, params.labels.names)
    # A picture that was taken down, or that a screen matched, is not broken, and neither is a link that led to none.
    present = sightings[~sightings["status"].isin(seen.GONE) & ~aggregates.unfetched(sightings)]
    by_label = aggregates.broken_shares(present, "label", params.labels.names).assign(pictures=sizes.to_numpy())
    by_source = aggregates.broken_shares(present, "source", sorted(sightings["source"].dropna().unique()))
    suites = [
        sightings_suite(sightings, params.labels.names),
        catalog_suite(aggregates.flat(catalog)),
        *share_suites(by_label, by_source, aggregates.totals(present, sizes), params.validate_),
    ]
    return suites, aggregates.counts(sightings, catalog, quarantine, by_label, by_source)


def main() -> None:
    """Write the report and the metrics, then stop the run if a rule of severity `error` is broken."""
    params = load_params()
    sightings = read_sightings(paths.SIGHTINGS)
    catalog = _sorted(read_parquet(paths.CATALOG), ["sha256"])
    quarantine = read_csv(paths.QUARANTINE, QUARANTINE_COLUMNS)
    suites, counts = build_suites(sightings, catalog, quarantine, params)
    outcomes = run_suites(suites, paths.DATA_DOCS, facts(sightings, catalog, quarantine))
    write_json({**counts, "rules": rule_results.document(outcomes)}, METRICS)
    report = paths.DATA_DOCS / "index.html"
    _log.info("validate: checked %d rules; wrote %s and %s", len(outcomes), report, METRICS)
    warned, failed = ([o for o in outcomes if not o.success and o.check.severity == kind] for kind in ("warn", "error"))
    if warned:
        _log.warning("%d rule(s) of severity warn are broken:\n%s", len(warned), rule_results.describe(warned))
    if failed:
        raise UserError(
            f"the data breaks {len(failed)} rule(s):\n{rule_results.describe(failed)}\nThe full report is {report}."
        )


def _sorted(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    present = [column for column in columns if column in frame]
    return frame.sort_values(present, ignore_index=True) if present else frame
