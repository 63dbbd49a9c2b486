"""The rows of the result: made for each input, completed with the classifier's scores a batch at a time."""

from collections.abc import Callable
from typing import Any

from pipeline.batch_scoring import result
from pipeline.batch_scoring.inputs import Item
from pipeline.images import sandbox
from pipeline.images.byte_source import ByteSource, ReadResult
from pipeline.images.preprocessing import FramePixels
from pipeline.serving.classifier import BATCH, Classifier

Row = dict[str, Any]


class RowMaker:
    """Makes rows, and fills in their scores when a batch is full."""

    def __init__(self, classifier: Classifier, model: str, digest: Callable[[ByteSource], str]) -> None:
        self._classifier, self._model, self._digest = classifier, model, digest
        self._frames: list[FramePixels] = []
        self._rows: list[Row] = []

    def row(self, item: Item, read: ReadResult | sandbox.Failure) -> Row:
        """Return an input's row. If the input was decoded, its scores are filled in later, by `flush` at the latest."""
        if isinstance(read, sandbox.Failure):  # its worker is gone, and returned no digest
            read = ReadResult(self._digest(item.content), None, str(read))
        row: Row = {"path": item.name, "sha256": read.sha256, "error": read.problem, "model": self._model}
        row |= {result.STAMP: item.stamp, "threshold": self._classifier.decision.threshold}
        if read.frames is not None:
            row |= {"frames": read.frames.total, "frames_scored": len(read.frames.pixels)}
            self._frames.append(read.frames)
            self._rows.append(row)
            if sum(len(frames.pixels) for frames in self._frames) >= BATCH:
                self.flush()
        return row

    def flush(self) -> None:
        """Score the pictures that are waiting."""
        if not self._rows:
            return
        scores = self._classifier.classify_frames(self._frames)
        names = [f"p_{label}" for label in self._classifier.labels]
        columns = (scores.probabilities.tolist(), scores.unsafe.tolist(), scores.decisions, scores.deciding_frames)
        for row, probabilities, unsafe, decision, frame in zip(self._rows, *columns, strict=True):
            row.update(zip(names, probabilities, strict=True), unsafe=unsafe, decision=decision, deciding_frame=frame)
        self._frames, self._rows = [], []
