"""Cluster exact and near copies, select the best of each cluster, and separate conflicts: one picture, two labels.

Reads   build/catalog.parquet, build/fingerprints.parquet, data/shards/*.tar (of doubtful pairs, and of the pictures in
        the report), data/sightings/*.parquet, data/decisions.csv, data/reports.csv
Writes  build/deduped.parquet, build/duplicates.parquet, build/conflicts.csv, build/set_aside.csv,
        build/excluded.csv, reports/duplicates.html, reports/escalations.csv, metrics/dedupe.json
Run     dvc repro dedupe

Every catalogued picture is canonical (kept), a duplicate, in conflict, set aside, or taken out by a decision (dropped,
unsure, escalated); see docs/dedupe.md for the rules. People's decisions come first; the machine never resolves a
conflict.
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
from pipeline.duplicates.full_resolution import PairInspector
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from pipeline.params.catalog import Catalog
from pipeline.params.root import load_params

_log = logging.getLogger(__name__)

CATALOG_COLUMNS = (
    "sha256", "labels", "first_seen", "width", "height", "frame", "entropy", "quality", *shards.Member._fields[1:],
)  # fmt: skip


def pair_inspector(params: Catalog) -> PairInspector:
    """Return what compares pictures at full resolution, within the catalog's limits."""
    limits = Limits(**params.limits)
    return PairInspector(paths.SHARDS, limits, sandbox.WorkerLimits(params.seconds, params.memory_mb, executor.cores()))


def _fingerprints(catalog: pd.DataFrame) -> Fingerprints:
    loaded = fingerprint_store.load(paths.FINGERPRINTS)
    if loaded.sha256.tolist() != catalog["sha256"].tolist():
        way_out = REBUILD.format(path=paths.FINGERPRINTS)
        raise UserError(f"{paths.FINGERPRINTS} and {paths.CATALOG} are not of the same run. {way_out}")
    return loaded


def _annotations(
    decisions: pd.DataFrame, reports: pd.DataFrame, resolved: pd.DataFrame, sighted: set[str]
) -> dict[str, dict[str, int]]:
    """Warn of decisions and reports that have no effect, and return their counts."""
    labels = dict(zip(resolved["sha256"], resolved["labels"], strict=True))
    outcomes = {
        "decisions": annotation_effects.decision_effects(paths.DECISIONS, decisions, labels, sighted),
        "reports": annotation_effects.report_effects(paths.REPORTS, reports, resolved, sighted),
    }
    for warning in filter(None, (one.warning() for one in outcomes.values())):
        _log.warning(warning)
    return {name: one.counts() for name, one in outcomes.items()}


def main() -> None:
    """Deduplicate the catalog."""
    params = load_params()
    catalog = tables.read_parquet(paths.CATALOG, CATALOG_COLUMNS).sort_values("sha256", ignore_index=True)
    sightings = seen.load_nonempty(paths.SIGHTINGS)
    decisions = annotation_files.decisions(paths.DECISIONS, params.labels.names)
    reports = annotation_files.reports(paths.REPORTS, params.labels.names)
    by_sha256 = dict(zip(catalog["sha256"], catalog["labels"], strict=True))
    annotation_files.check_confirmed(paths.DECISIONS, decisions, by_sha256)
    decided, reported = annotation_files.latest(decisions), set(reports["sha256"])
    catalog = catalog.join(clustering.ranks(catalog, seen.first_batches(paths.SIGHTINGS), params.dedupe))
    inspector = pair_inspector(params.catalog)
    counts: dict[str, int] = {}
    if params.dedupe.near:
        files_of = sightings["sha256"].value_counts()
        protected = reported | set(decided.index)
        clustered, counts = clustering.cluster(
            catalog, _fingerprints(catalog), files_of, params.dedupe, inspector, protected
        )
    else:
        clustered = clustering.exact_clusters(catalog)
    resolved = clustered.join(label_resolution.resolve(clustered, decided, reported))
    canonical, copies = outcome.canonical_pictures(resolved), outcome.copies(sightings, resolved)
    conflicts, aside = outcome.conflicts(resolved), outcome.set_aside_pictures(resolved)
    excluded, escalated = outcome.excluded_pictures(resolved), outcome.escalated_files(resolved, sightings, decisions)
    outcome.check_nothing_lost(catalog, canonical, copies, conflicts, aside, excluded)
    counted = outcome.summarize(resolved, copies, decided, counts) | {
        "annotations": _annotations(decisions, reports, resolved, set(sightings["sha256"].dropna()))
    }
    tables.write_parquet(canonical, paths.DEDUPED)
    tables.write_parquet(copies, paths.DUPLICATES)
    tables.write_csv(conflicts, paths.CONFLICTS)
    tables.write_csv(aside, paths.SET_ASIDE)
    tables.write_csv(excluded, paths.EXCLUDED)
    tables.write_csv(escalated, paths.ESCALATIONS)
    files.write_text(report.page(resolved, copies, catalog, counted, inspector), paths.DUPLICATES_REPORT)
    files.write_json(counted, paths.METRICS / "dedupe.json")
    shown = [counted[name] for name in ("kept", "exact_copies", "near_copies", "conflicts")]
    _log.info("dedupe: %d pictures kept, %d exact and %d near copies, %d conflicts", *shown)
