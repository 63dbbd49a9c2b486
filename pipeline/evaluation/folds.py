"""Folds of pictures, so that each is judged by a model that was fitted without it and without its near copies."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.core.errors import UserError

Integers = npt.NDArray[np.integer[Any]]


def grouped_folds(
    labels: Integers, groups: npt.NDArray[Any], folds: int, seed: int
) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Return (rows to fit, rows to judge) of each fold; a group lies in one fold, classes are spread evenly.

    Raises:
        UserError: there are fewer groups than folds, or pictures of less than two classes.

    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    codes = pd.factorize(groups, sort=True)[0]
    if codes.max(initial=-1) + 1 < folds:
        raise UserError(
            f"audit.folds is {folds}, but there are {codes.max(initial=-1) + 1} clusters. Lower audit.folds."
        )
    if np.unique(labels).size < 2:
        raise UserError("the pictures are of less than two classes, so wrong labels cannot be detected.")
    if np.bincount(labels).max() < folds:  # too few pictures to stratify by class
        return list(GroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, codes))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, codes))
