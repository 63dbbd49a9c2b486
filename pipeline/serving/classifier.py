"""The classifier: bytes of pictures to probabilities of classes. Batch scoring, HTTP and the registry all use it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.images.limits import Limits, Rejected
from pipeline.images.preprocessing import FramePixels, Preprocessor
from pipeline.serving.decision import Decision, Outcome, worst_frame
from pipeline.serving.networks import Adapter, load_network

BATCH = 32


@dataclass(frozen=True)
class Scores:
    """The scores of n pictures, in their order.

    Attributes:
        probabilities: float64 (n, classes), calibrated.
        unsafe: float64 (n,), the sums of the probabilities of the unsafe classes.
        decisions: "unsafe" if the sum reaches the threshold, else "safe"; None if there is no threshold.
        deciding_frames: index of the frame that each picture's scores belong to; 0 for a still picture.

    """

    probabilities: npt.NDArray[np.float64]
    unsafe: npt.NDArray[np.float64]
    decisions: list[Outcome | None]
    deciding_frames: list[int]


class Classifier:
    """A saved model with its class names, and the decision that turns its outputs into scores.

    classifier = Classifier(Path("build/finetuned/model.keras"), labels=("drawings", "porn"), size=96)
    scores = classifier.classify(pixels)
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

        A model of another kind, or with other ranges or labels, needs an `adapter`. Without a `decision` the
        probabilities are not calibrated, and there are no decisions.

        Raises:
            UserError: its library cannot read the file safely, its shapes do not match, or the decision is about other
                labels.

        """
        self.labels = tuple(labels)
        self.size = size
        self.resize = (adapter or Adapter()).resize
        self.decision = decision or Decision(self.labels, ())
        if self.decision.labels != self.labels:
            theirs = ", ".join(self.decision.labels)
            raise UserError(
                f"{model_file}: its labels are {', '.join(self.labels)}, but its decision is about {theirs}"
            )
        self._network = load_network(model_file, adapter or Adapter(), size, len(self.labels))

    def preprocessor(self, limits: Limits) -> Preprocessor:
        """Return what makes the pixels that this model takes, of pictures within `limits`."""
        return Preprocessor(limits, self.size, self.resize)

    def classify(self, pixels: npt.NDArray[np.uint8]) -> Scores:
        """Return the scores of uint8 (n, size, size, 3) pixels, as `images.preprocessing` makes them.

        The same picture gets the same numbers within 1e-6, whatever else is in its batch.
        """
        parts = [self._network(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        raw = np.concatenate(parts) if parts else np.empty((0, len(self.labels)))
        probabilities = self.decision.probabilities(raw)
        unsafe = self.decision.score(probabilities)
        return Scores(probabilities, unsafe, self.decision.outcomes(unsafe), [0] * len(pixels))

    def classify_frames(self, pictures: Sequence[FramePixels]) -> Scores:
        """Return the scores of pictures with one frame or more; each gets the scores of its worst frame.

        The worst frame is the one with the highest score, since a moderator must not miss it.
        """
        if not pictures:
            return self.classify(np.empty((0, self.size, self.size, 3), np.uint8))
        # Score the frames of all pictures together; those of picture j are the rows before ends[j].
        frames = self.classify(np.concatenate([picture.pixels for picture in pictures]))
        ends = np.cumsum([len(picture.pixels) for picture in pictures])
        worst = [
            worst_frame(frames.unsafe[end - len(picture.pixels) : end])
            for picture, end in zip(pictures, ends, strict=True)
        ]
        rows = [int(end) - len(picture.pixels) + i for picture, end, i in zip(pictures, ends, worst, strict=True)]
        numbers = [picture.numbers[i] for picture, i in zip(pictures, worst, strict=True)]
        decisions = [frames.decisions[row] for row in rows]
        return Scores(frames.probabilities[rows], frames.unsafe[rows], decisions, numbers)

    def predict(
        self, pictures: Sequence[bytes], limits: Limits | None = None
    ) -> tuple[npt.NDArray[np.float64], list[str]]:
        """Return float64 (n, classes) probabilities, and for each picture "" or why it has none (its row is NaN).

        Pictures are decoded in this process, so decode untrusted ones in `images.sandbox` instead.
        """
        preprocessor = self.preprocessor(limits or Limits())
        probabilities = np.full((len(pictures), len(self.labels)), np.nan)
        errors = [""] * len(pictures)
        for start in range(0, len(pictures), BATCH):
            rows, decoded = [], []
            for row in range(start, min(start + BATCH, len(pictures))):
                try:
                    decoded.append(preprocessor.frames_from_bytes(pictures[row]))
                    rows.append(row)
                except Rejected as rejected:
                    errors[row] = str(rejected)
                except MemoryError:
                    errors[row] = "memory: too large to decode"
            if decoded:
                probabilities[rows] = self.classify_frames(decoded).probabilities
        return probabilities, errors
