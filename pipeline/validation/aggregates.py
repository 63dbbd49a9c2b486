"""Counts and shares of the data, by label, by batch and in all: what the thresholds of params.yaml apply to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def locate(sightings: pd.DataFrame, catalogued: pd.Series, quarantined: pd.Series) -> pd.Series:
    """Return where each sighting's content is: catalog, quarantine, both, neither, or refused (it has no content).

    `catalogued`, `quarantined`: the sha256 of the contents in each table.
    """
    in_catalog, in_quarantine = sightings["sha256"].isin(catalogued), sightings["sha256"].isin(quarantined)
    tables = np.select(
        [in_catalog & in_quarantine, in_catalog, in_quarantine], ["both", "catalog", "quarantine"], "neither"
    )
    return pd.Series(tables, index=sightings.index, dtype="str").mask(sightings["status"].eq("refused"), "refused")


def unfetched(sightings: pd.DataFrame) -> pd.Series:
    """Return whether a row is a URL that gave no picture: there was never a file that could be broken.

    A dead link says nothing of the pictures that came; `ingest.min_success` is the limit for those. The origin of a
    file is a path below a folder, which never begins as a URL does.
    """
    urls = sightings["origin"].str.match(r"[A-Za-z][A-Za-z0-9+.-]*://", na=False)
    return sightings["status"].eq("refused") & (urls | sightings["reason"].str.startswith("bad_url:", na=False))


def class_sizes(catalog: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Return the number of pictures of each label. A content under two labels counts for neither: it is undecided."""
    single = catalog.loc[catalog["labels"].map(len) == 1, "labels"].map(lambda labels: labels[0])
    return single.value_counts().reindex(list(names), fill_value=0).astype("int64")


def broken_shares(sightings: pd.DataFrame, column: str, values: Sequence[str]) -> pd.DataFrame:
    """Count files, and files that are no usable picture, by `column`: one row for each of `values`, in their order.

    The columns are `column`, files, broken and broken_share, which is NaN where there are no files.
    """
    broken = sightings["found_in"].ne("catalog").groupby(sightings[column]).agg(["size", "sum"])
    broken = broken.reindex(list(values), fill_value=0).astype("int64").set_axis(["files", "broken"], axis=1)
    return broken.assign(broken_share=broken["broken"] / broken["files"]).rename_axis(column).reset_index()


def totals(sightings: pd.DataFrame, sizes: pd.Series) -> pd.DataFrame:
    """Return one row of class_ratio (NaN where a class is empty: `has_pictures` reports that) and unreadable_share."""
    ratio = sizes.max() / sizes.min() if sizes.min() else np.nan
    return pd.DataFrame({"class_ratio": [ratio], "unreadable_share": [sightings["status"].eq("refused").mean()]})


def flat(catalog: pd.DataFrame) -> pd.DataFrame:
    """Return the catalog with its lists as texts, which Great Expectations can compare, and `label_count`."""
    lists = [column for column in ("labels", "sources") if column in catalog]
    counts = {"label_count": catalog["labels"].map(len)} if "labels" in catalog else {}
    return catalog.assign(**counts, **{column: catalog[column].map(", ".join) for column in lists})


def counts(
    sightings: pd.DataFrame,
    catalog: pd.DataFrame,
    quarantine: pd.DataFrame,
    by_label: pd.DataFrame,
    by_source: pd.DataFrame,
) -> dict[str, Any]:
    """Return the counts of metrics/validate.json; `by_label` and `by_source` are rows of `broken_shares`."""
    reasons = quarantine["reason"].str.split(":", n=1).str[0].value_counts()
    return {
        "sighted": len(sightings),
        "refused": int(sightings["status"].eq("refused").sum()),
        "catalogued": len(catalog),
        "quarantined": {"total": len(quarantine), "reason": {str(code): int(n) for code, n in reasons.items()}},
        "label": by_label.set_index("label")[["files", "broken", "pictures"]].to_dict("index"),
        "source": by_source.set_index("source")[["files", "broken"]].to_dict("index"),
    }
