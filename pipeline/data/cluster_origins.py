"""Which clusters of copies a batch, a report, or a reported picture alone brought into data/."""

from collections.abc import Collection, Sequence

import pandas as pd

from pipeline.core.errors import UserError
from pipeline.data import batch_names


def held_out_clusters(clusters: pd.DataFrame, sightings: pd.DataFrame, test_sources: Sequence[str]) -> set[str]:
    """Return the clusters that must be test: those of a test batch.

    `clusters`: `sha256, cluster` of every picture of a cluster, including copies that are not canonical.

    Raises:
        UserError: no sighting has one of the test batches.

    """
    strangers = sorted(set(test_sources) - set(sightings["source"]))
    if strangers:
        known = ", ".join(sorted(sightings["source"].unique()))
        raise UserError(f"split.test_sources names {', '.join(strangers)}, but data/ holds the batches {known}.")
    return clusters_of(clusters, sightings.loc[sightings["source"].isin(test_sources), "sha256"].dropna())


def clusters_of(clusters: pd.DataFrame, contents: Collection[str]) -> set[str]:
    """Return the clusters of some contents; `clusters` as for `held_out_clusters`."""
    return set(clusters.loc[clusters["sha256"].isin(list(contents)), "cluster"])


def clusters_by_reports_alone(clusters: pd.DataFrame, sightings: pd.DataFrame) -> set[str]:
    """Return the clusters of which no picture was ever in the scrape: all came in with accepted reports."""
    scraped = ~sightings["source"].map(batch_names.is_of_reports).astype(bool)
    return set(clusters["cluster"]) - clusters_of(clusters, sightings.loc[scraped, "sha256"].dropna())
