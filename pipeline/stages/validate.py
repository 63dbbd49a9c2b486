"""Hold sightings and catalog against what they promise, and against the thresholds of params.yaml.

Reads   data/sightings/*.parquet, build/catalog.parquet, build/quarantine.csv, params: labels, validate
Writes  reports/data_docs/ (HTML: open index.html), metrics/validate.json
Run     dvc repro validate

A broken rule of severity `error` stops the run, after the report is written; one of severity `warn` is logged.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.core.tables import read_csv, read_parquet
from pipeline.data import batch_names
from pipeline.data import sightings as seen
from pipeline.params.root import Params, load_params
from pipeline.validation.data_docs import facts, run_suites
from pipeline.validation.suites import (
    CATALOG_COLUMNS,
    SIGHTING_COLUMNS,
    Outcome,
    Suite,
    catalog_suite,
    share_suites,
    sightings_suite,
)

_log = logging.getLogger(__name__)

QUARANTINE_COLUMNS = ("sha256", "origin", "reason", "label", "source")
METRICS = paths.METRICS / "validate.json"


def read_sightings(directory: Path) -> pd.DataFrame:
    """Read every batch's sightings, sorted by content and origin; only columns that all batches have.

    Raises:
        UserError: if there is no batch, or one cannot be read.

    """
    tables = [read_parquet(path) for path in batch_names.tables(directory)]
    if not tables:
        raise UserError(f"{directory} holds no sightings. Run `nsfw ingest folder DIR`, or `dvc pull data.dvc`.")
    rows = pd.concat(tables, join="inner", ignore_index=True)
    if {"sha256", "status", "reason"} <= set(rows.columns):
        rows = seen.without_removed(rows, directory)
    return _sorted(rows, ["sha256", "origin", "source"])


def locate(sightings: pd.DataFrame, catalogued: pd.Series, quarantined: pd.Series) -> pd.Series:
    """Return where each sighting's content went: catalog, quarantine, both, neither, or refused (it has no content)."""
    inside = sightings["sha256"].isin(catalogued), sightings["sha256"].isin(quarantined)
    found = np.select([inside[0] & inside[1], *inside], ["both", "catalog", "quarantine"], "neither")
    return pd.Series(found, index=sightings.index, dtype="str").mask(sightings["status"].eq("refused"), "refused")


def class_sizes(catalog: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Return the pictures of each label. A content under two labels counts for neither: nobody has decided yet."""
    single = catalog.loc[catalog["labels"].map(len) == 1, "labels"].map(lambda labels: labels[0])
    return single.value_counts().reindex(list(names), fill_value=0).astype("int64")


def broken_shares(sightings: pd.DataFrame, column: str, values: Sequence[str]) -> pd.DataFrame:
    """Count files, and files that are no usable picture, by `column`: one row for each of `values`, in their order."""
    broken = sightings["found_in"].ne("catalog").groupby(sightings[column]).agg(["size", "sum"])
    broken = broken.reindex(list(values), fill_value=0).astype("int64").set_axis(["files", "broken"], axis=1)
    return broken.assign(broken_share=broken["broken"] / broken["files"]).rename_axis(column).reset_index()


def totals(sightings: pd.DataFrame, sizes: pd.Series) -> pd.DataFrame:
    """Return one row of class_ratio (NaN where a class is empty: `has_pictures` says so) and unreadable_share."""
    ratio = sizes.max() / sizes.min() if sizes.min() else np.nan
    return pd.DataFrame({"class_ratio": [ratio], "unreadable_share": [sightings["status"].eq("refused").mean()]})


def build_suites(
    sightings: pd.DataFrame, catalog: pd.DataFrame, quarantine: pd.DataFrame, params: Params
) -> tuple[list[Suite], dict[str, Any]]:
    """Return the suites, and the counts that go into the metrics. Where a column is missing, only that is checked."""
    lacking = (set(SIGHTING_COLUMNS) - set(sightings)) | (set(CATALOG_COLUMNS) - set(catalog))
    if lacking:
        return [sightings_suite(sightings, params.labels.names), catalog_suite(_flat(catalog))], {}
    sightings = sightings.assign(found_in=locate(sightings, catalog["sha256"], quarantine["sha256"]))
    sizes = class_sizes(catalog, params.labels.names)
    present = sightings[sightings["status"] != seen.REMOVED]  # what a person took down is not broken
    by_label = broken_shares(present, "label", params.labels.names).assign(pictures=sizes.to_numpy())
    by_source = broken_shares(present, "source", sorted(sightings["source"].dropna().unique()))
    suites = [
        sightings_suite(sightings, params.labels.names),
        catalog_suite(_flat(catalog)),
        *share_suites(by_label, by_source, totals(present, sizes), params.validate_),
    ]
    return suites, _counts(sightings, catalog, quarantine, by_label, by_source)


def broken_rules(outcomes: Sequence[Outcome]) -> str:
    """Describe broken rules: what was observed, the limit, the rows concerned and the way out."""
    lines = []
    for outcome in outcomes:
        check = outcome.check
        limit = "" if check.limit is None else f", limit {check.limit:g}"
        observed = f"{outcome.unexpected} row(s)" if check.limit is None else f"observed {outcome.observed:g}"
        lines.append(f"  {outcome.suite}.{check.rule} ({check.promise}): {observed}{limit}")
        lines += [f"    {row}" for row in outcome.listed()]
        lines.append(f"    -> {check.way_out}")
    return "\n".join(lines)


def main() -> None:
    """Write the report and the metrics, then stop the run if a rule of severity `error` is broken."""
    params = load_params()
    sightings = read_sightings(paths.SIGHTINGS)
    catalog = _sorted(read_parquet(paths.CATALOG), ["sha256"])
    quarantine = read_csv(paths.QUARANTINE, QUARANTINE_COLUMNS)
    suites, counts = build_suites(sightings, catalog, quarantine, params)
    outcomes = run_suites(suites, paths.DATA_DOCS, facts(sightings, catalog, quarantine))
    write_json({**counts, "rules": _rules(outcomes)}, METRICS)
    report = paths.DATA_DOCS / "index.html"
    _log.info("validate: checked %d rules; wrote %s and %s", len(outcomes), report, METRICS)
    warned, failed = ([o for o in outcomes if not o.success and o.check.severity == kind] for kind in ("warn", "error"))
    if warned:
        _log.warning("%d rule(s) of severity warn are broken:\n%s", len(warned), broken_rules(warned))
    if failed:
        raise UserError(f"the data breaks {len(failed)} rule(s):\n{broken_rules(failed)}\nThe full report is {report}.")


def _sorted(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    present = [column for column in columns if column in frame]
    return frame.sort_values(present, ignore_index=True) if present else frame


def _flat(catalog: pd.DataFrame) -> pd.DataFrame:
    """Return the catalog with its lists as texts, which Great Expectations can compare, and `label_count`."""
    lists = [column for column in ("labels", "sources") if column in catalog]
    counts = {"label_count": catalog["labels"].map(len)} if "labels" in catalog else {}
    return catalog.assign(**counts, **{column: catalog[column].map(", ".join) for column in lists})


def _rules(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    rules: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        rules.setdefault(outcome.suite, {})[outcome.check.rule] = {
            "success": outcome.success,
            "severity": outcome.check.severity,
            "observed": outcome.observed,
            "limit": outcome.check.limit,
            "rows": outcome.unexpected,
        }
    return rules


def _counts(
    sightings: pd.DataFrame,
    catalog: pd.DataFrame,
    quarantine: pd.DataFrame,
    by_label: pd.DataFrame,
    by_source: pd.DataFrame,
) -> dict[str, Any]:
    reasons = quarantine["reason"].str.split(":", n=1).str[0].value_counts()
    return {
        "sighted": len(sightings),
        "refused": int(sightings["status"].eq("refused").sum()),
        "catalogued": len(catalog),
        "quarantined": {"total": len(quarantine), "reason": {str(code): int(n) for code, n in reasons.items()}},
        "label": by_label.set_index("label")[["files", "broken", "pictures"]].to_dict("index"),
        "source": by_source.set_index("source")[["files", "broken"]].to_dict("index"),
    }
