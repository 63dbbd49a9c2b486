"""From a network's probabilities to a decision: calibrate, sum over the unsafe classes, compare with the threshold.

    decision = Decision(("drawings", "porn"), ("porn",), temperature=1.4, threshold=0.31)
    probabilities = decision.probabilities(raw)
    decision.outcomes(decision.score(probabilities))  # ["safe", "unsafe", ...]

Temperature and threshold come from a version's evidence (docs/evidence.md). They are fitted on val, never on test.
This file is packaged with every registered model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.temperature import scale

Floats = npt.NDArray[np.floating[Any]]
Outcome = Literal["unsafe", "safe"]

UNSAFE: Outcome = "unsafe"
SAFE: Outcome = "safe"
_CLOSE = 1e-5  # relative tolerance: results of another machine differ in their last digits


@dataclass(frozen=True)
class Decision:
    """How a version's outputs become scores and decisions.

    Attributes:
        labels: the classes, in the order of the probabilities.
        unsafe: the classes whose probabilities add up to the score.
        temperature: softmax(log(p) / temperature) is calibrated; 1.0 leaves p as it is.
        threshold: of the score, 0..1; None if no operating point is known, and so nothing is decided.

    """

    labels: tuple[str, ...]
    unsafe: tuple[str, ...]
    temperature: float = 1.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: an unsafe class is not a label, or temperature or threshold are out of range.

        """
        strangers = [name for name in self.unsafe if name not in self.labels]
        if strangers:
            raise ValueError(f"unsafe names {', '.join(map(str, strangers))}, which is no label")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"the temperature is {self.temperature}")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0 + _CLOSE:
            raise ValueError(f"the threshold is {self.threshold}")

    def probabilities(self, raw: Floats) -> npt.NDArray[np.float64]:
        """Return calibrated float64 (n, classes) probabilities for a network's own (n, classes); NaN stays NaN.

        The most probable class stays the same (Guo et al., "On Calibration of Modern Neural Networks", 2017).
        """
        if self.temperature == 1.0:
            return np.asarray(raw, np.float64)
        return scale(raw, self.temperature)

    def score(self, probabilities: Floats) -> npt.NDArray[np.float64]:
        """Return the (n,) sums over the unsafe classes of calibrated (n, classes) probabilities."""
        members = np.array([name in self.unsafe for name in self.labels])
        total: npt.NDArray[np.float64] = np.asarray(probabilities, np.float64)[:, members].sum(axis=1)
        return total

    def outcomes(self, scores: Floats) -> list[Outcome | None]:
        """Return "unsafe" or "safe" for each score; None for NaN, and if there is no threshold."""
        limit = self.threshold
        if limit is None:
            return [None] * len(scores)
        return [None if math.isnan(score) else UNSAFE if score >= limit else SAFE for score in scores.tolist()]

    def agrees(self, other: "Decision") -> bool:
        """Whether both are the same decision, up to the last digits of their numbers."""
        ours, theirs = self.threshold, other.threshold
        same = ours == theirs if ours is None or theirs is None else math.isclose(ours, theirs, rel_tol=_CLOSE)
        return (
            same
            and (self.labels, self.unsafe) == (other.labels, other.unsafe)
            and math.isclose(self.temperature, other.temperature, rel_tol=_CLOSE)
        )

    def to_document(self) -> dict[str, Any]:
        """Return all fields, for JSON."""
        return asdict(self) | {"labels": list(self.labels), "unsafe": list(self.unsafe)}

    @classmethod
    def from_document(
        cls, document: Mapping[str, Any] | None, labels: Sequence[str] = (), unsafe: Sequence[str] = ()
    ) -> Self:
        """Return the decision that a document holds; for None (an older version) one without calibration and threshold.

        Raises:
            ValueError: a field is unknown (a later version wrote it), missing or invalid.

        """
        if document is None:
            return cls(tuple(labels), tuple(unsafe))
        names = {field.name for field in fields(cls)}
        if set(document) != names:
            odd = ", ".join(sorted(names ^ set(document)))
            raise ValueError(f"the decision has, or lacks, {odd}: another version of this program wrote it")
        threshold = document["threshold"]
        return cls(
            tuple(map(str, document["labels"])),
            tuple(map(str, document["unsafe"])),
            float(document["temperature"]),
            None if threshold is None else float(threshold),
        )

    @classmethod
    def from_evidence(cls, evidence: Mapping[str, Any]) -> Self | None:
        """Return the decision that an evidence.json holds: its temperature, and the threshold for all unsafe classes.

        None if it holds no operating points because an earlier version of this program wrote it.

        Raises:
            ValueError: a value is invalid.

        """
        points = evidence.get("operating_points")
        if not points:
            return None
        return cls(
            tuple(evidence["labels"]),
            tuple(evidence["unsafe"]),
            float(evidence["calibration"]["temperature"]),
            points["unsafe"]["threshold"],
        )


def worst_frame(scores: Sequence[float] | Floats) -> int:
    """Return the index of the first highest of the (k,) scores of a picture's frames, k at least 1.

    NaN counts as higher than any number, so that a frame without a valid score is not ignored.
    """
    return int(np.argmax(scores))
