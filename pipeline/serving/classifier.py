"""Bytes of pictures to probabilities of classes: the one classifier behind batch, HTTP and the registry."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.images.limits import Limits, Rejected
from pipeline.images.preprocessing import FrameSquares, Squaring
from pipeline.serving.decision import Decision, Verdict, worst_frame
from pipeline.serving.networks import Adapter, load_network

BATCH = 32


@dataclass(frozen=True)
class Scores:
    """What is said of n pictures, in their order.

    Attributes:
        probabilities: float64 (n, classes), calibrated.
        unsafe: float64 (n,), their sums over the unsafe classes.
        decisions: "unsafe" where that reaches the threshold, else "safe"; None where no threshold is known.
        deciding_frames: the number, from 0, of the frame that each picture's row is about; 0 for a still.

    """

    probabilities: npt.NDArray[np.float64]
    unsafe: npt.NDArray[np.float64]
    decisions: list[Verdict | None]
    deciding_frames: list[int]


class Classifier:
    """A saved model with its class names, and how its answers are read.

    classifier = Classifier(Path("build/finetuned/model.keras"), labels=("drawings", "porn"), size=96)
    scores = classifier.classify(squares)
    """

    def __init__(
        self,
        model_file: Path,
        labels: Sequence[str],
        size: int,
        adapter: Adapter | None = None,
        decision: Decision | None = None,
    ) -> None:
        """Load `model_file`; its input is (n, size, size, 3), values 0 to 255, its output (n, len(labels)).

        A model of another kind, or with other ranges or labels, has an `adapter` between. Without a `decision`
        probabilities are the model's own, and nothing is decided.

        Raises:
            UserError: the file is not a model that its library reads safely, its shapes are others, or the decision
                is about other labels.

        """
        self.labels = tuple(labels)
        self.size = size
        self.decision = decision or Decision(self.labels, ())
        if self.decision.labels != self.labels:
            said = ", ".join(self.decision.labels)
            raise UserError(f"{model_file}: its labels are {', '.join(self.labels)}, but its decision is about {said}")
        self._network = load_network(model_file, adapter or Adapter(), size, len(self.labels))

    def classify(self, squares: npt.NDArray[np.uint8]) -> Scores:
        """Return what the model says of (n, size, size, 3) pixels, as `Squaring` makes them.

        The same square gets the same numbers within 1e-6, whatever else is in its batch.
        """
        parts = [self._network(squares[start : start + BATCH]) for start in range(0, len(squares), BATCH)]
        raw = np.concatenate(parts) if parts else np.empty((0, len(self.labels)))
        probabilities = self.decision.probabilities(raw)
        unsafe = self.decision.score(probabilities)
        return Scores(probabilities, unsafe, self.decision.verdicts(unsafe), [0] * len(squares))

    def classify_frames(self, pictures: Sequence[FrameSquares]) -> Scores:
        """Return what the model says of pictures of one frame or more: of each, what it says of its worst frame.

        That is the frame with the highest score, since a moderator must not miss it.
        """
        if not pictures:
            return self.classify(np.empty((0, self.size, self.size, 3), np.uint8))
        every = self.classify(np.concatenate([picture.squares for picture in pictures]))
        ends = np.cumsum([len(picture.squares) for picture in pictures])
        within = [
            worst_frame(every.unsafe[end - len(picture.squares) : end])
            for picture, end in zip(pictures, ends, strict=True)
        ]
        rows = [int(end) - len(picture.squares) + k for picture, end, k in zip(pictures, ends, within, strict=True)]
        numbers = [picture.numbers[k] for picture, k in zip(pictures, within, strict=True)]
        decisions = [every.decisions[row] for row in rows]
        return Scores(every.probabilities[rows], every.unsafe[rows], decisions, numbers)

    def predict(
        self, pictures: Sequence[bytes], limits: Limits | None = None
    ) -> tuple[npt.NDArray[np.float64], list[str]]:
        """Return float64 (n, classes) probabilities, and for each picture "" or why it has none (its row is NaN).

        Pictures are decoded here, in this process: give untrusted ones to `images.sandbox` first.
        """
        squaring = Squaring(limits or Limits(), self.size)
        probabilities = np.full((len(pictures), len(self.labels)), np.nan)
        errors = [""] * len(pictures)
        for start in range(0, len(pictures), BATCH):
            places, shown = [], []
            for place in range(start, min(start + BATCH, len(pictures))):
                try:
                    shown.append(squaring.frames_from_bytes(pictures[place]))
                    places.append(place)
                except Rejected as rejected:
                    errors[place] = str(rejected)
                except MemoryError:
                    errors[place] = "memory: too large to decode"
            if shown:
                probabilities[places] = self.classify_frames(shown).probabilities
        return probabilities, errors
