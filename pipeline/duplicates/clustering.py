"""From fingerprints to clusters of copies, each with what its members are ranked and named by."""

import numpy as np
import pandas as pd

from pipeline.data import shards
from pipeline.duplicates import near_copies, placeholders
from pipeline.duplicates.fingerprint_store import Fingerprints
from pipeline.duplicates.full_resolution import Eyes
from pipeline.params.dedupe import Dedupe

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
    reason = placeholders.reasons(prints, count, catalog["entropy"].to_numpy(dtype=np.float64), params)
    reason[catalog["sha256"].isin(spared).to_numpy(dtype=np.bool_)] = ""
    members = [shards.Member(*row) for row in catalog[list(shards.Member._fields)].itertuples(index=False)]
    found = near_copies.find(prints, catalog["rank"].to_numpy(dtype=np.int64), members, reason != "", params, eyes)
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
