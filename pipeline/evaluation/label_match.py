"""A model's labels beside the classes that the pictures have, and what can be judged where the two differ.

A model may have other labels than labels.names in params.yaml: a binary model (safe, unsafe), one with a class more,
one of before a class was renamed. Whether it tells unsafe pictures from safe ones can be judged for each of them; a
class only if the model has a label of that name.

    match = LabelMatch(("safe", "unsafe"), ("unsafe",), ("drawings", "porn"), ("porn",))
    probabilities, truth = match.arrays(predictions)  # columns and indices are those of match.names
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.evaluation import predictions as table
from pipeline.evaluation.recall import Floats, Integers, summary

Members = npt.NDArray[np.bool_]

_MOST_SHOWN = 12


@dataclass(frozen=True)
class LabelMatch:
    """A model's labels beside the classes of the pictures that it is judged on.

    Where both have a name, the classes decide whether it is unsafe.

    Attributes:
        labels: the model's, in the order of its outputs.
        unsafe: the unsafe ones of them.
        classes: the true classes of the pictures.
        unsafe_classes: the unsafe ones of these.

    """

    labels: tuple[str, ...]
    unsafe: tuple[str, ...]
    classes: tuple[str, ...]
    unsafe_classes: tuple[str, ...]

    @classmethod
    def own(cls, names: Sequence[str], unsafe: Collection[str]) -> Self:
        """Return the match of a model whose labels are the classes."""
        members = tuple(name for name in names if name in unsafe)
        return cls(tuple(names), members, tuple(names), members)

    @property
    def known(self) -> tuple[str, ...] | None:
        """The classes that can be judged as such; None: all."""
        return None if self.same else self.common

    @property
    def same(self) -> bool:
        """Whether the labels are the classes, so that everything can be judged."""
        return self.labels == self.classes

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, then the classes that the model has no label for."""
        return (*self.labels, *self.unknown)

    @property
    def common(self) -> tuple[str, ...]:
        """The labels that are classes, too: what is judged by class."""
        return tuple(name for name in self.labels if name in self.classes)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The classes that the model has no label for."""
        return tuple(name for name in self.classes if name not in self.labels)

    @property
    def all_unsafe(self) -> tuple[str, ...]:
        """The unsafe ones of `names`."""
        return tuple(name for name in self.names if self._is_unsafe(name))

    @property
    def members(self) -> Members:
        """Whether each of `names` is unsafe."""
        return np.array([self._is_unsafe(name) for name in self.names])

    @property
    def label_members(self) -> Members:
        """Whether each of `labels` is unsafe."""
        return self.members[: len(self.labels)]

    def widen(self, probabilities: Floats) -> Floats:
        """Return (n, names) probabilities for a model's (n, labels): 0 for classes that it has no label for."""
        return np.pad(probabilities, ((0, 0), (0, len(self.unknown)))) if self.unknown else probabilities

    def truth(self, classes: pd.Series) -> Integers:
        """Return the indices into `names` of pictures' true classes, shape (n,)."""
        index = {name: i for i, name in enumerate(self.names)}
        return classes.map(index).to_numpy(dtype=np.int64)

    def arrays(self, predictions: pd.DataFrame) -> tuple[Floats, Integers]:
        """Return ((n, names) probabilities, (n,) indices into `names`) of a predictions table of the model."""
        return self.widen(table.probabilities(predictions, self.labels)), self.truth(predictions["label"])

    def is_right(self, predicted: str, expected: str) -> bool:
        """Whether a predicted label is right for a picture of class `expected`.

        If the model has no such label, it is right on the same side: unsafe or safe.
        """
        if expected in self.labels:
            return predicted == expected
        return self._is_unsafe(predicted) == self._is_unsafe(expected)

    def _is_unsafe(self, name: str) -> bool:
        return name in (self.unsafe_classes if name in self.classes else self.unsafe)


def matched_summary(probabilities: Floats, truth: Integers, match: LabelMatch, confidence: float) -> dict[str, Any]:
    """Return `evaluation.recall.summary` of `match.arrays`; rows of its confusion are classes, columns are labels."""
    figures = summary(probabilities, truth, match.names, match.all_unsafe, confidence, match.known)
    return figures | {"confusion": by_class_and_label(figures["confusion"], match)}


def by_class_and_label(counts: Sequence[Sequence[int]], match: LabelMatch) -> list[list[int]]:
    """Return the rows of the classes and the columns of the labels of a confusion matrix over `match.names`."""
    return [list(counts[match.names.index(name)][: len(match.labels)]) for name in match.classes]


def listing(names: Sequence[str]) -> str:
    """Return names for a message, 12 at most."""
    more = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
