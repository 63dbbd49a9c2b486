"""Pair two versions' answers on the same test pictures, whatever labels each of them has.

A picture's answers are compared as unsafe or safe in any case, and by class where both versions have a label for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.evaluation.label_match import LabelMatch, listing
from pipeline.evaluation.paired_comparison import Difference, differences
from pipeline.registry.evidence_store import Evidence

if TYPE_CHECKING:
    from pipeline.params.root import Params

Rescore = Callable[[Evidence, Evidence], pd.DataFrame | None]  # production, challenger -> production's answers


class IncomparableError(Exception):
    """Two versions have no predictions on the same pictures; the message says why."""


@dataclass(frozen=True)
class PairedAnswers:
    """Two models' answers on the same test pictures.

    Attributes:
        frame: `sha256, label, before_<name>..., after_<name>...`; 0 for a name that is no label of that model.
        names: the labels of both, and the classes of the pictures.
        unsafe: the unsafe ones of them.
        known: the classes that both have labels for; None: all.
        uncompared: which classes are not compared, and why; "" for none.

    """

    frame: pd.DataFrame
    names: tuple[str, ...]
    unsafe: tuple[str, ...]
    known: tuple[str, ...] | None = None
    uncompared: str = ""

    def arrays(self) -> tuple[Any, Any, Any]:
        """Return (before (n, names), after (n, names), labels (n,))."""
        before = self.frame[[f"before_{name}" for name in self.names]].to_numpy()
        after = self.frame[[f"after_{name}" for name in self.names]].to_numpy()
        return before, after, self.frame["label"].map(self.names.index).to_numpy()

    def differences(self, params: Params) -> dict[str, Difference]:
        """Return `evaluation.paired_comparison.differences`; without those by class that are not compared."""
        return differences(
            *self.arrays(),
            self.names,
            self.unsafe,
            resamples=params.evaluate.resamples,
            seed=params.seed,
            known=self.known,
        )


def pair_answers(before: Evidence, after: Evidence, rescore: Rescore | None = None) -> PairedAnswers:
    """Return both models' answers on every test picture of `after`.

    `rescore` predicts pictures that `before` was never shown.

    Raises:
        IncomparableError: pictures that `before` was never shown cannot be predicted here.

    """
    columns = [f"p_{name}" for name in before.document.labels]
    test = after.predictions[after.predictions["split"] == "test"]
    answers = before.predictions.drop_duplicates("sha256").set_index("sha256")[columns]
    missing = int((~test["sha256"].isin(answers.index)).sum())
    if missing:
        fresh = rescore(before, after) if rescore else None
        if fresh is None:
            raise IncomparableError(
                f"version {before.version} was never shown {missing} of {len(test)} test pictures, and they are not "
                f"here to show them: check out the data of version {after.version} (`nsfw trace {after.version}`)"
            )
        answers = fresh.drop_duplicates("sha256").set_index("sha256")[columns]
    names, unsafe = _names(before, after)
    common = tuple(name for name in after.document.match.common if name in before.document.labels)
    joined = pd.concat(
        [
            test[["sha256", "label"]].reset_index(drop=True),
            _answers(answers.loc[test["sha256"]], names, "before"),
            _answers(test, names, "after"),
        ],
        axis=1,
    )
    if set(common) == set(after.document.match.classes):
        return PairedAnswers(joined, names, unsafe)
    return PairedAnswers(joined, names, unsafe, common, _uncompared(before, after, common))


def _answers(predictions: pd.DataFrame, names: tuple[str, ...], side: str) -> pd.DataFrame:
    zeros = np.zeros(len(predictions))
    return pd.DataFrame(
        {
            f"{side}_{name}": predictions[f"p_{name}"].to_numpy() if f"p_{name}" in predictions else zeros
            for name in names
        }
    )


def _names(before: Evidence, after: Evidence) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels of both versions with the classes of the pictures, and the unsafe ones of them.

    What is unsafe is decided by the classes, then by the later version.
    """
    match = after.document.match
    both = LabelMatch(before.document.labels, before.document.unsafe, match.names, match.all_unsafe)
    names = (*match.names, *(name for name in both.names if name not in match.names))
    return names, tuple(name for name in names if name in both.all_unsafe)


def _uncompared(before: Evidence, after: Evidence, common: tuple[str, ...]) -> str:
    """Return what cannot be compared by class, and why."""
    sides = [(f"version {each.version}" if each.version else "this version", each.document) for each in (before, after)]
    if not common:
        labels = "; ".join(f"{name} has the labels {listing(document.labels)}" for name, document in sides)
        return f"no class of the pictures is a label of both: {labels}"
    lacking = [
        f"{name} has no label {listing(missing)}"
        for name, document in sides
        if (missing := [label for label in after.document.match.classes if label not in document.labels])
    ]
    return f"not compared by class: {'; '.join(lacking)}"
