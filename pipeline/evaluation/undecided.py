"""Suspicions about labels that nobody has decided on yet: what a person has answered is not proposed again."""

from collections.abc import Collection

import pandas as pd


def without_decided(suspicions: pd.DataFrame, decided: Collection[str]) -> pd.DataFrame:
    """Return the rows whose `sha256` is not in `decided`, in order; `rank`, where they have one, counts them anew.

    Args:
        suspicions: `sha256`, and any other columns; the likeliest wrong label first.
        decided: The sha256 of every picture that data/decisions.csv names.

    """
    rows = suspicions[~suspicions["sha256"].isin(list(decided))].reset_index(drop=True)
    return rows.assign(rank=range(1, len(rows) + 1)) if "rank" in rows else rows
