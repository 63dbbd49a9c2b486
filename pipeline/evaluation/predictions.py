"""The table of predictions: `sha256, split, label, p_<class>...`, and the test set's digest."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.evaluation.recall import Floats, Integers


def frame(
    sha256: Sequence[str], split: Sequence[str] | str, label: Sequence[str], answers: Floats, names: Sequence[str]
) -> pd.DataFrame:
    """Return a predictions table; `answers` are probabilities (n, classes) in the order of `names`."""
    table = pd.DataFrame(answers, columns=[f"p_{name}" for name in names])
    table.insert(0, "sha256", list(sha256))
    table.insert(1, "split", split)
    table.insert(2, "label", list(label))
    return table


def arrays(predictions: pd.DataFrame, names: Sequence[str]) -> tuple[Floats, Integers]:
    """Return (probabilities (n, classes), label indices (n,)) of a predictions table."""
    index = {name: i for i, name in enumerate(names)}
    return probabilities(predictions, names), predictions["label"].map(index).to_numpy(dtype=np.int64)


def probabilities(predictions: pd.DataFrame, names: Sequence[str]) -> Floats:
    """Return the (n, classes) probabilities of a predictions table, in the order of `names`."""
    return predictions[[f"p_{name}" for name in names]].to_numpy()


def predicted_classes(predictions: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[np.str_]:
    """Return the most probable class of each row, shape (n,)."""
    predicted: npt.NDArray[np.str_] = np.array(names)[probabilities(predictions, names).argmax(axis=1)]
    return predicted


def digest(predictions: pd.DataFrame) -> str:
    """Return the sha256 of the sorted lines `sha256<tab>label<newline>` of a set of pictures.

    With equal digests, the figures of two models are about the same pictures with the same labels.
    """
    lines = sorted(f"{sha}\t{label}\n" for sha, label in zip(predictions["sha256"], predictions["label"], strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
