"""Fingerprints to clusters of copies; ranks that order a cluster's members and name the cluster."""

import numpy as np
import pandas as pd

from pipeline.data import shards
from pipeline.duplicates import near_copies, placeholders
from pipeline.duplicates.fingerprint_store import Fingerprints
from pipeline.duplicates.full_resolution import PairInspector
from pipeline.params.dedupe import Dedupe

_FRAMED = 0.95  # factor for the area of a picture with a frame


def ranks(catalog: pd.DataFrame, arrival: pd.Series, params: Dedupe) -> pd.DataFrame:
    """Return `rank` (the lowest of a cluster is canonical, by params.keep) and `age` (the lowest names the cluster).

    `arrival`: the batch that brought each content first, so that no later batch can rename a cluster. The largest
    picture is the one with most pixels within its frame; one without a frame is preferred, because a frame's edge is
    only located to within some px.
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
    return pd.DataFrame(
        {"rank": _positions(order, [*keep, "sha256"]), "age": _positions(order, age)}, index=catalog.index
    )


def _positions(order: pd.DataFrame, by: list[str]) -> np.ndarray:
    """Return each row's position in the order by these columns."""
    positions = np.empty(len(order), dtype=np.int64)
    rows = np.lexsort([pd.factorize(order[column], sort=True)[0] for column in reversed(by)])
    positions[rows] = np.arange(len(order))
    return positions


def cluster(catalog: pd.DataFrame, fingerprints: Fingerprints, files_of: pd.Series, params: Dedupe,
            inspector: PairInspector, protected: set[str]) -> tuple[pd.DataFrame, dict[str, int]]:  # fmt: skip
    """Return `sha256, labels, cluster, rank, reason, representative, distance, how, score` by picture, and counts.

    `catalog` includes the columns of `ranks`. `files_of`: the number of files of each content. `protected` pictures
    are never set aside: there is a decision or a report on them.
    """
    count = catalog["sha256"].map(files_of).to_numpy(dtype=np.int64)
    reason = placeholders.reasons(fingerprints, count, catalog["entropy"].to_numpy(dtype=np.float64), params)
    reason[catalog["sha256"].isin(protected).to_numpy(dtype=np.bool_)] = ""
    members = shards.members_of(catalog)
    matches = near_copies.find(
        fingerprints, catalog["rank"].to_numpy(dtype=np.int64), members, reason != "", params, inspector
    )
    sha256 = catalog["sha256"].to_numpy()
    oldest = catalog.groupby(matches.representative)["age"].transform("min")
    by_age = catalog.sort_values("age")["sha256"].to_numpy()
    clustered = catalog[["sha256", "labels", "rank"]].assign(
        cluster=by_age[oldest.to_numpy()],
        reason=reason,
        representative=sha256[matches.representative],
        distance=matches.distance,
        how=matches.method,
        score=matches.score,
    )
    return clustered, matches.counts


def exact_clusters(catalog: pd.DataFrame) -> pd.DataFrame:
    """Return the table of `cluster` with every content as its own cluster."""
    alone = catalog[["sha256", "labels", "rank"]].assign(reason="", distance=0, how="", score=1.0)
    return alone.assign(cluster=catalog["sha256"], representative=catalog["sha256"])
