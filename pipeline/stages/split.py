"""Assign every cluster to train, validation, test, or, with a publicly reported picture, to the regression cases.

Reads   build/deduped.parquet, build/duplicates.parquet, build/excluded.csv, data/sightings/*.parquet,
        data/reports.csv, data/slices.csv
Writes  build/splits.parquet, metrics/split.json
Run     dvc repro split

A cluster's split depends on its own id and a fixed salt, so new data moves no cluster, and none ever leaves test. A
report moves a cluster out of train or validation, never into or out of test: people report what a model gets wrong, so
either would change what the test set measures. Test pictures whose label people cannot tell are a split of their own,
`unsure`: only the raw test set has them.
"""

import hashlib
import logging
from collections.abc import Collection, Sequence

import pandas as pd

from pipeline.core import files, paths, tables
from pipeline.core.errors import UserError
from pipeline.data import annotation_effects, annotation_files, cluster_origins
from pipeline.data import sightings as seen
from pipeline.data.annotation_files import REGRESSION
from pipeline.params.root import load_params
from pipeline.params.split import Fractions

_log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
UNSURE = "unsure"


def assign(
    clusters: pd.Series,
    fractions: Fractions,
    *,
    salt: str,
    held_out: Collection[str] = (),
    reported: Collection[str] = (),
    by_reports_alone: Collection[str] = (),
) -> pd.Series:
    """Return each row's split; a cluster in `held_out` is test.

    Those in `reported` are regression, but for what is test without their report. Those in `by_reports_alone` came into
    data/ as reported pictures, and are never test by their hash.

    The lowest hash values are test, the next val: raising a fraction later only adds clusters to that split.
    """
    splits = {cluster: _split(_position(cluster, salt), fractions) for cluster in clusters.unique()}
    split = clusters.map(splits).where(~clusters.isin(list(held_out)), "test")
    moved = clusters.isin(list(reported)) & ((split != "test") | clusters.isin(list(by_reports_alone)))
    return split.where(~moved, REGRESSION).astype("str")


def _position(cluster: str, salt: str) -> float:
    digest = hashlib.sha256(f"{salt}:{cluster}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _split(position: float, fractions: Fractions) -> str:
    if position < fractions.test:
        return "test"
    return "val" if position < fractions.test + fractions.val else "train"


def unsure_rows(excluded: pd.DataFrame, fractions: Fractions, *, salt: str, held_out: Collection[str]) -> pd.DataFrame:
    """Return `sha256, label, cluster, split` (all `unsure`) of the unsure pictures that would be test.

    `excluded`: as `outcome.excluded_pictures` returns it.
    """
    rows = excluded.loc[(excluded["reason"] == UNSURE) & (excluded["label"] != ""), ["sha256", "label", "cluster"]]
    tested = assign(rows["cluster"], fractions, salt=salt, held_out=held_out) == "test"
    return rows[tested].assign(split=UNSURE)


def check_no_cluster_straddles(splits: pd.DataFrame) -> None:
    """Raise AssertionError if a cluster is in two splits: near copies would leak from training into test."""
    straddling = splits.groupby("cluster")["split"].nunique()
    if (straddling > 1).any():
        raise AssertionError(f"clusters in several splits: {list(straddling[straddling > 1].index[:5])}")


def count(splits: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Return the number of pictures by label (rows) and split (columns), including zeros; regression only if any."""
    table = pd.crosstab(splits["label"], splits["split"])
    columns = [*SPLITS, *([REGRESSION] if REGRESSION in table else [])]
    return table.reindex(index=list(labels), columns=columns, fill_value=0)


def check_enough(counts: pd.DataFrame, minimum: int) -> None:
    """Raise UserError if a class is too small to be split."""
    thin = [f"{label} has {n} in {split}" for split in SPLITS for label, n in counts[split].items() if n < minimum]
    if thin:
        raise UserError(
            f"too few pictures to split, at least {minimum} of each class are wanted in each part: {'; '.join(thin)}.\n"
            "Ingest more, take the label out of labels.names, change split.fractions, or lower split.min_per_split."
        )


def _tags(deduped: pd.DataFrame, copies: pd.DataFrame, sightings: pd.DataFrame) -> dict[str, int]:
    """Warn of rows of data/slices.csv whose picture is in no split, and count them.

    The file is read here because `evaluate`, which uses it, runs hours later.
    """
    rows = annotation_files.slices(paths.SLICES)
    replaced = set(copies.loc[copies["kept"].notna(), "sha256"])
    effects = annotation_effects.slice_effects(
        paths.SLICES, rows, set(deduped["sha256"]), replaced, set(sightings["sha256"].dropna())
    )
    if warning := effects.warning():
        _log.warning(warning)
    return effects.counts()


def main() -> None:
    """Split the deduplicated pictures."""
    params = load_params()
    deduped = tables.read_parquet(paths.DEDUPED, ["sha256", "label", "cluster"])
    reports = annotation_files.reports(paths.REPORTS, params.labels.names)
    copies = tables.read_parquet(paths.DUPLICATES, ["sha256", "cluster", "kept"])
    sightings = seen.load_nonempty(paths.SIGHTINGS)
    tags = _tags(deduped, copies, sightings)
    excluded = tables.read_csv(paths.EXCLUDED, ("sha256", "cluster", "reason", "label"))
    members = pd.concat([deduped, copies, excluded])
    held_out = cluster_origins.held_out_clusters(members, sightings, params.split.test_sources)
    reported = cluster_origins.clusters_of(members, set(reports["sha256"]))
    if params.split.reports == "test":
        held_out, reported = held_out | reported, set()
    split = assign(
        deduped["cluster"],
        params.split.fractions,
        salt=params.split.salt,
        held_out=held_out,
        reported=reported - held_out,
        by_reports_alone=cluster_origins.clusters_by_reports_alone(members, sightings),
    )
    splits = deduped.assign(split=split)
    check_no_cluster_straddles(splits)
    counts = count(splits, params.labels.names)
    check_enough(counts, params.split.min_per_split)
    unsure = unsure_rows(excluded, params.split.fractions, salt=params.split.salt, held_out=held_out)
    tables.write_parquet(pd.concat([splits, unsure], ignore_index=True), paths.SPLITS)
    shares = counts.div(counts.sum()).round(4)
    document = {
        "pictures": counts.to_dict(),
        "share": shares.to_dict(),
        "annotations": {"slices": tags},
        "unsure": len(unsure),
    }
    files.write_json(document, paths.METRICS / "split.json")
    sizes = ", ".join(f"{n} {name}" for name, n in counts.sum().items())
    _log.info("split: %s pictures, of %d clusters", sizes, splits["cluster"].nunique())
