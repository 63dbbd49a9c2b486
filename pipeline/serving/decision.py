"""From a network's probabilities to what a moderator is told: calibrated, added up over the unsafe classes, decided.

    decision = Decision(("drawings", "porn"), ("porn",), temperature=1.4, threshold=0.31)
    probabilities = decision.probabilities(raw)
    decision.verdicts(decision.score(probabilities))  # ["safe", "unsafe", ...]

Temperature and threshold come from a version's evidence (docs/evidence.md): fitted on val, never on test. This file
travels with every registered model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Verdict = Literal["unsafe", "safe"]

UNSAFE: Verdict = "unsafe"
SAFE: Verdict = "safe"
_SMALLEST = 1e-7  # as where the temperature was fitted
_CLOSE = 1e-5  # relative: what another machine's last digits may change


@dataclass(frozen=True)
class Decision:
    """How a version's answers are read.

    Attributes:
        labels: the classes, in the order of the probabilities.
        unsafe: those whose probabilities add up to the score.
        temperature: softmax(log(p) / temperature) is calibrated; 1.0 leaves p as it is.
        threshold: of the score, 0..1; None where no operating point is known: then there are no verdicts.

    """

    labels: tuple[str, ...]
    unsafe: tuple[str, ...]
    temperature: float = 1.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: an unsafe class is no label, or temperature or threshold are no such numbers.

        """
        strangers = [name for name in self.unsafe if name not in self.labels]
        if strangers:
            raise ValueError(f"unsafe names {', '.join(map(str, strangers))}, which is no label")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"the temperature is {self.temperature}")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0 + _CLOSE:
            raise ValueError(f"the threshold is {self.threshold}")

    def probabilities(self, raw: Floats) -> npt.NDArray[np.float64]:
        """Return a network's (n, classes) probabilities calibrated, float64; NaN stays NaN.

        The most probable class stays the same (Guo et al., "On Calibration of Modern Neural Networks", 2017).
        """
        if self.temperature == 1.0:
            return np.asarray(raw, np.float64)
        logs = np.log(np.clip(np.asarray(raw, np.float64), _SMALLEST, 1.0)) / self.temperature
        top = logs.max(axis=1, keepdims=True, initial=-np.inf)
        scaled: npt.NDArray[np.float64] = np.exp(logs - (top + np.log(np.exp(logs - top).sum(axis=1, keepdims=True))))
        return scaled

    def score(self, probabilities: Floats) -> npt.NDArray[np.float64]:
        """Return the (n,) sums over the unsafe classes of (n, classes) calibrated probabilities."""
        members = np.array([name in self.unsafe for name in self.labels])
        total: npt.NDArray[np.float64] = np.asarray(probabilities, np.float64)[:, members].sum(axis=1)
        return total

    def verdicts(self, scores: Floats) -> list[Verdict | None]:
        """Return for each score whether it reaches the threshold; None for NaN, and where no threshold is known."""
        limit = self.threshold
        if limit is None:
            return [None] * len(scores)
        return [None if math.isnan(score) else UNSAFE if score >= limit else SAFE for score in scores.tolist()]

    def agrees(self, other: "Decision") -> bool:
        """Whether both read answers alike; another machine's last digits are the same number."""
        ours, theirs = self.threshold, other.threshold
        same = ours == theirs if ours is None or theirs is None else math.isclose(ours, theirs, rel_tol=_CLOSE)
        return (
            same
            and (self.labels, self.unsafe) == (other.labels, other.unsafe)
            and math.isclose(self.temperature, other.temperature, rel_tol=_CLOSE)
        )

    def to_document(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return asdict(self) | {"labels": list(self.labels), "unsafe": list(self.unsafe)}

    @classmethod
    def from_document(
        cls, document: Mapping[str, Any] | None, labels: Sequence[str] = (), unsafe: Sequence[str] = ()
    ) -> Self:
        """Return the decision that a document tells of; of None (an older version) the plain one of these classes.

        Raises:
            ValueError: it has a field that is not known (a later version wrote it), lacks one, or is impossible.

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
        """Return what an evidence.json fitted on val: its temperature, and the threshold of all unsafe classes.

        None where it holds no operating points: an earlier version of this program wrote it.

        Raises:
            ValueError: what it holds is impossible.

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
    """Return which of the (k,) scores of one picture's frames, k at least 1, decides about it: the first highest.

    A NaN comes before all numbers: a frame that the network has no answer to is not passed over.
    """
    return int(np.argmax(scores))
