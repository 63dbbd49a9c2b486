"""Collapse exact and near copies to clusters, keep the best of each, and set conflicts aside: one picture, two labels.

Reads   build/catalog.parquet, build/fingerprints.parquet, data/shards/*.tar (of doubtful pairs, and what the report
        shows), data/sightings/*.parquet, data/decisions.csv, data/reports.csv
Writes  build/deduped.parquet, build/duplicates.parquet, build/conflicts.csv, build/set_aside.csv,
        reports/duplicates.html, metrics/dedupe.json
Run     dvc repro dedupe

Every catalogued picture is kept, a duplicate, in conflict, set aside or dropped by a decision; docs/dedupe.md has the
rules. What people decided comes first; no conflict is ever settled by the machine.
"""

import logging

import pandas as pd

from pipeline.core import executor, files, paths, tables
from pipeline.core.errors import UserError
from pipeline.core.files import REBUILD
from pipeline.data import annotation_effects, annotation_files, shards
from pipeline.data import sightings as seen
from pipeline.duplicates import clustering, fingerprint_store, label_resolution, outcome, report
from pipeline.duplicates.fingerprint_store import Fingerprints
from pipeline.duplicates.full_resolution import Eyes
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from pipeline.params.catalog import Catalog
from pipeline.params.root import load_params

_log = logging.getLogger(__name__)

CATALOG_COLUMNS = (
    "sha256", "labels", "first_seen", "width", "height", "frame", "entropy", "quality", *shards.Member._fields[1:],
)  # fmt: skip


def eyes(params: Catalog) -> Eyes:
    """Return how pictures are looked at in full, within the catalog's limits."""
    limits = Limits(**params.limits)
    return Eyes(paths.SHARDS, limits, sandbox.Limits(params.seconds, params.memory_mb, executor.cores()))


def _fingerprints(catalog: pd.DataFrame) -> Fingerprints:
    loaded = fingerprint_store.load(paths.FINGERPRINTS)
    if loaded.sha256.tolist() != catalog["sha256"].tolist():
        way_out = REBUILD.format(path=paths.FINGERPRINTS)
        raise UserError(f"{paths.FINGERPRINTS} and {paths.CATALOG} are not of the same run. {way_out}")
    return loaded


def _annotations(
    decisions: pd.DataFrame, reports: pd.DataFrame, settled: pd.DataFrame, sighted: set[str]
) -> dict[str, dict[str, int]]:
    """Warn of decisions and reports that change nothing, and return the counts of them."""
    labels = dict(zip(settled["sha256"], settled["labels"], strict=True))
    outcomes = {
        "decisions": annotation_effects.of_decisions(paths.DECISIONS, decisions, labels, sighted),
        "reports": annotation_effects.of_reports(paths.REPORTS, reports, settled, sighted),
    }
    for warning in filter(None, (one.warning() for one in outcomes.values())):
        _log.warning(warning)
    return {name: one.counts() for name, one in outcomes.items()}


def main() -> None:
    """Deduplicate the catalog."""
    params = load_params()
    catalog = tables.read_parquet(paths.CATALOG, CATALOG_COLUMNS).sort_values("sha256", ignore_index=True)
    sightings = seen.load_some(paths.SIGHTINGS)
    decisions = annotation_files.decisions(paths.DECISIONS, params.labels.names)
    reports = annotation_files.reports(paths.REPORTS, params.labels.names)
    decided, reported = annotation_files.latest(decisions), set(reports["sha256"])
    catalog = catalog.join(clustering.ranks(catalog, seen.arrival(paths.SIGHTINGS), params.dedupe))
    looking = eyes(params.catalog)
    counts: dict[str, int] = {}
    if params.dedupe.near:
        files_of = sightings["sha256"].value_counts()
        spared = reported | set(decided.index)
        clustered, counts = clustering.cluster(
            catalog, _fingerprints(catalog), files_of, params.dedupe, looking, spared
        )
    else:
        clustered = clustering.exact_only(catalog)
    settled = clustered.join(label_resolution.settle(clustered, decided, reported))
    kept, copies = outcome.kept(settled), outcome.copies(sightings, settled)
    conflicts, aside = outcome.conflicts(settled), outcome.set_aside(settled)
    dropped = set(settled.loc[settled["status"] == label_resolution.DROPPED, "sha256"])
    outcome.check_nothing_lost(catalog, kept, copies, conflicts, aside, dropped)
    found = outcome.summarize(settled, copies, decided, counts) | {
        "annotations": _annotations(decisions, reports, settled, set(sightings["sha256"].dropna()))
    }
    tables.write_parquet(kept, paths.DEDUPED)
    tables.write_parquet(copies, paths.DUPLICATES)
    tables.write_csv(conflicts, paths.CONFLICTS)
    tables.write_csv(aside, paths.SET_ASIDE)
    files.write_text(report.page(settled, copies, catalog, found, looking), paths.DUPLICATES_REPORT)
    files.write_json(found, paths.METRICS / "dedupe.json")
    counted = [found[name] for name in ("kept", "exact_copies", "near_copies", "conflicts")]
    _log.info("dedupe: %d pictures kept, %d exact and %d near copies, %d conflicts", *counted)
