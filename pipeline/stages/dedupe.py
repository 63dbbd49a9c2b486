"""Collapse exact and near copies to clusters, keep the best of each, and set conflicts aside: one picture, two labels.

Reads   build/catalog.parquet, build/fingerprints.parquet, data/shards/*.tar (of doubtful pairs, and what the report
        shows), data/sightings/*.parquet, data/decisions.csv, data/reports.csv
Writes  build/deduped.parquet, build/duplicates.parquet, build/conflicts.csv, build/set_aside.csv,
        reports/duplicates.html, metrics/dedupe.json
Run     dvc repro dedupe

Every catalogued picture is kept, a duplicate, in conflict, set aside or dropped by a decision; docs/dedupe.md has the
rules. What people decided comes first; no conflict is ever settled by the machine.
"""

import numpy as np
import pandas as pd

from pipeline import compute, decisions, files, paths, tables
from pipeline.duplicates import report, settling
from pipeline.errors import UserError
from pipeline.files import REBUILD
from pipeline.images import near, prints, sandbox, setting_aside, shards
from pipeline.images.decode import Limits
from pipeline.images.eyes import Eyes
from pipeline.images.prints import Fingerprints
from pipeline.ingest import sightings as seen
from pipeline.params import Catalog, Dedupe, load_params

CATALOG_COLUMNS = (
    "sha256", "labels", "first_seen", "width", "height", "frame", "entropy", "quality", *shards.Member._fields[1:],
)  # fmt: skip
_FRAMED = 0.95  # what a picture's area counts if it has a frame


def ranks(catalog: pd.DataFrame, arrival: pd.Series, params: Dedupe) -> pd.DataFrame:
    """Return `rank` (the lowest of a cluster is kept, as params.keep orders) and `age` (the lowest names the cluster).

    `arrival`: the batch that brought each content first, so that no later batch can rename a cluster. The largest is
    that with most pixels within its frame; one without a frame is preferred, since a frame's edge is found to some px.
    """
    area = catalog["width"].astype("int64") * catalog["height"].astype("int64")
    order = pd.DataFrame(
        {
            "largest": -(area * (1 - catalog["frame"]) * np.where(catalog["frame"] > 0, _FRAMED, 1.0)),
            "quality": -catalog["quality"],
            "batch": catalog["sha256"].map(arrival),
            "first_seen": catalog["first_seen"],
            "sha256": catalog["sha256"],
        },
        index=catalog.index,
    )
    age = ["batch", "first_seen", "sha256"]
    keep = [column for rule in params.keep for column in (age[:2] if rule == "first_seen" else [rule])]
    return pd.DataFrame({"rank": _places(order, [*keep, "sha256"]), "age": _places(order, age)}, index=catalog.index)


def _places(order: pd.DataFrame, by: list[str]) -> np.ndarray:
    places = np.empty(len(order), dtype=np.int64)
    places[np.lexsort([pd.factorize(order[column], sort=True)[0] for column in reversed(by)])] = np.arange(len(order))
    return places


def cluster(catalog: pd.DataFrame, prints: Fingerprints, files_of: pd.Series, params: Dedupe, eyes: Eyes,
            spared: set[str]) -> tuple[pd.DataFrame, dict[str, int]]:  # fmt: skip
    """Return `sha256, labels, cluster, rank, reason, representative, distance, how, score` by picture, and counts.

    `catalog` has `rank` and `age` already. `files_of`: how many files held each content. `spared` pictures are never
    set aside: a person has spoken of them.
    """
    count = catalog["sha256"].map(files_of).to_numpy(dtype=np.int64)
    reason = setting_aside.reasons(prints, count, catalog["entropy"].to_numpy(dtype=np.float64), params)
    reason[catalog["sha256"].isin(spared).to_numpy(dtype=np.bool_)] = ""
    members = [shards.Member(*row) for row in catalog[list(shards.Member._fields)].itertuples(index=False)]
    found = near.find(prints, catalog["rank"].to_numpy(dtype=np.int64), members, reason != "", params, eyes)
    sha256 = catalog["sha256"].to_numpy()
    oldest = catalog.groupby(found.representative)["age"].transform("min")
    by_age = catalog.sort_values("age")["sha256"].to_numpy()
    clustered = catalog[["sha256", "labels", "rank"]].assign(
        cluster=by_age[oldest.to_numpy()],
        reason=reason,
        representative=sha256[found.representative],
        distance=found.distance,
        how=found.how,
        score=found.score,
    )
    return clustered, found.counts


def exact_only(catalog: pd.DataFrame) -> pd.DataFrame:
    """Return what `cluster` does, with every content a cluster of its own."""
    alone = catalog[["sha256", "labels", "rank"]].assign(reason="", distance=0, how="", score=1.0)
    return alone.assign(cluster=catalog["sha256"], representative=catalog["sha256"])


def deduplicate(settled: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, label, cluster` of every kept picture."""
    kept = settled[settled["status"] == settling.KEPT]
    return kept[["sha256", "label", "cluster"]].astype("str")


def conflicts(settled: pd.DataFrame) -> pd.DataFrame:
    """Return `cluster, sha256, label, offered`, a row for each label of each picture in conflict."""
    rows = settled[settled["status"] == settling.CONFLICT]
    rows = rows.drop(columns="label").explode("labels").rename(columns={"labels": "label"})
    return rows[["cluster", "sha256", "label", "offered"]].sort_values(["cluster", "sha256", "label"])


def set_aside(settled: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, reason` of what is set aside."""
    return settled.loc[settled["status"] == settling.SET_ASIDE, ["sha256", "reason"]]


def duplicates(sightings: pd.DataFrame, settled: pd.DataFrame) -> pd.DataFrame:
    """Return what is not learned from because it is a copy: `sha256, kept, cluster, kind, distance`, and where it was.

    Kind `exact`: a row for each file whose content was seen before it. Kind `near`: a row for each picture of a cluster
    of several that is not kept, with its distance (bits) to `representative`, and how they were matched. `kept` is the
    picture that stands for it in training, null where none does (a conflict, set aside, or dropped).
    """
    usable = sightings[sightings["sha256"].isin(settled["sha256"])].sort_values(
        ["sha256", "fetched_at", "source", "origin"], kind="stable"
    )
    again = usable[usable.duplicated("sha256", keep="first")].assign(kind="exact")
    crowded = settled["cluster"].duplicated(keep=False) & (settled["status"] != settling.KEPT)
    first = usable.drop_duplicates("sha256")
    close = first[first["sha256"].isin(settled.loc[crowded, "sha256"])].assign(kind="near")
    columns = ["sha256", "cluster", "kept", "representative", "distance", "how", "score"]
    rows = pd.concat([again, close])[["sha256", "kind", "label", "origin", "source"]].merge(
        settled[columns], on="sha256"
    )
    exact = rows["kind"] == "exact"
    rows = rows.assign(
        distance=rows["distance"].where(~exact, 0),
        how=rows["how"].where(~exact, "bytes"),
        score=rows["score"].where(~exact, 1.0),
        representative=rows["representative"].where(~exact, rows["sha256"]),
    )
    order = ["sha256", "kept", "cluster", "kind", "distance", "label", "origin", "source"]
    rows = rows[[*order, "representative", "how", "score"]].sort_values(["sha256", "kind", "source", "origin"])
    return rows.astype({"kept": "str", "distance": "int64"})


def summarize(
    settled: pd.DataFrame, copies: pd.DataFrame, decided: pd.Series, counts: dict[str, int]
) -> dict[str, object]:
    """Return counts: pictures by what became of them, labels kept, copies by kind, conflicts, the search's work."""
    status, kept = settled["status"], settled[settled["status"] == settling.KEPT]
    conflicting = settled[status == settling.CONFLICT]
    aside = settled.loc[status == settling.SET_ASIDE, "reason"].str.replace(r":.*", "", regex=True)
    sizes = settled["cluster"].value_counts()
    return {
        "catalogued": len(settled),
        "kept": len(kept),
        "kept_by_label": kept["label"].value_counts().sort_index().to_dict(),
        "exact_copies": int((copies["kind"] == "exact").sum()),
        "near_copies": int((status == settling.DUPLICATE).sum()),
        "clusters": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()) if len(sizes) else 0,
        "conflicts": int(conflicting["cluster"].nunique()),
        "conflict_pictures": len(conflicting),
        "set_aside": aside.value_counts().sort_index().to_dict(),
        "dropped": int((status == settling.DROPPED).sum()),
        "decisions": len(decided),
        "search": counts,
    }


def check_nothing_lost(
    catalog: pd.DataFrame, deduped: pd.DataFrame, copies: pd.DataFrame, conflicting: pd.DataFrame, aside: pd.DataFrame,
    dropped: set[str],
) -> None:  # fmt: skip
    """Raise unless the tables hold every catalogued picture, each as one thing."""
    held = [set(deduped["sha256"]), set(conflicting["sha256"]), set(aside["sha256"]), dropped]
    held.append(set(copies.loc[copies["kind"] == "near", "sha256"]) - set().union(*held))
    together = set().union(*held)
    if together != set(catalog["sha256"]) or sum(map(len, held)) != len(catalog):
        raise AssertionError(f"{len(catalog)} catalogued, but {[len(part) for part in held]} (kept, ...) hold others")


def eyes(params: Catalog) -> Eyes:
    """Return how pictures are looked at in full, within the catalog's limits."""
    limits = Limits(*params.limits)
    return Eyes(paths.SHARDS, limits, sandbox.Limits(params.seconds, params.memory_mb, compute.cores()))


def _fingerprints(catalog: pd.DataFrame) -> Fingerprints:
    loaded = prints.load(paths.FINGERPRINTS)
    if loaded.sha256.tolist() != catalog["sha256"].tolist():
        way_out = REBUILD.format(path=paths.FINGERPRINTS)
        raise UserError(f"{paths.FINGERPRINTS} and {paths.CATALOG} are not of the same run. {way_out}")
    return loaded


def main() -> None:
    """Deduplicate the catalog."""
    params = load_params()
    catalog = tables.read_parquet(paths.CATALOG, CATALOG_COLUMNS).sort_values("sha256", ignore_index=True)
    sightings = seen.load_some(paths.SIGHTINGS)
    decided = decisions.load_decisions(paths.DECISIONS, params.labels.names)
    reported = set(tables.read_csv(paths.REPORTS, decisions.REPORT_COLUMNS)["sha256"])
    catalog = catalog.join(ranks(catalog, seen.arrival(paths.SIGHTINGS), params.dedupe))
    looking = eyes(params.catalog)
    counts: dict[str, int] = {}
    if params.dedupe.near:
        files_of = sightings["sha256"].value_counts()
        clustered, counts = cluster(
            catalog, _fingerprints(catalog), files_of, params.dedupe, looking, reported | set(decided.index)
        )
    else:
        clustered = exact_only(catalog)
    settled = clustered.join(settling.settle(clustered, decided, reported))
    deduped, conflicting, aside = deduplicate(settled), conflicts(settled), set_aside(settled)
    copies = duplicates(sightings, settled)
    check_nothing_lost(
        catalog, deduped, copies, conflicting, aside, set(settled.loc[settled["status"] == settling.DROPPED, "sha256"])
    )
    tables.write_parquet(deduped, paths.DEDUPED)
    tables.write_parquet(copies, paths.DUPLICATES)
    tables.write_csv(conflicting, paths.CONFLICTS)
    tables.write_csv(aside, paths.SET_ASIDE)
    found = summarize(settled, copies, decided, counts)
    files.write_text(report.page(settled, copies, catalog, found, looking), paths.DUPLICATES_REPORT)
    files.write_json(found, paths.METRICS / "dedupe.json")
