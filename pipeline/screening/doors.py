"""Screening where pictures are scored: `nsfw score`, the HTTP service, the demo. No registered model knows of it.

The worker that decodes a picture for the model hashes it, too, in the same decode; only where the model's input is so
small that a large JPEG was decoded at less than PDQ's own scale, it is decoded again. What matches is not scored, and
its record goes to `ingest.screens.records`: these commands do not version data/, and may run where there is none.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.errors import UserError
from pipeline.data import escalations
from pipeline.data.escalations import ESCALATED, Verdict
from pipeline.images import sandbox
from pipeline.images.byte_source import ByteSource, ReadResult, load
from pipeline.images.limits import Rejected
from pipeline.images.preprocessing import FramePixels, Preprocessor
from pipeline.images.sandbox import Failure, WorkerLimits
from pipeline.screening.hashing import FrameHashes, Hasher, of_frame
from pipeline.screening.pdq import SIDE
from pipeline.screening.screens import Hashed, Screens

_log = logging.getLogger("nsfw.screens")

Preprocess = Callable[[bytes], FramePixels]


class Opened(NamedTuple):
    """What a worker made of a content: a model's input or why there is none; its PDQ hashes or why there are none."""

    frames: FramePixels | Failure
    hashed: list[FrameHashes] | Failure


def open_both(preprocess: Preprocess, hasher: Hasher, data: bytes) -> Opened:
    """Preprocess and hash a content; for a sandbox worker.

    Raises:
        MemoryError: it needs more than this process may use.

    """
    try:
        preprocessor = getattr(preprocess, "__self__", None)
        if not isinstance(preprocessor, Preprocessor):
            return Opened(preprocess(data), _hashes(hasher, data))
        frames, looked = preprocessor.frames_with(data, partial(_sized_hashes, of_frame))
    except Rejected as rejected:
        return Opened(Failure(rejected.code, rejected.detail), _hashes(hasher, data))
    if looked.reduced and any(side < SIDE for side, _ in looked.results):
        return Opened(frames, _hashes(hasher, data))
    return Opened(frames, [hashes for _, hashes in looked.results])


def _sized_hashes(function: Callable[[Any], FrameHashes], image: Any) -> tuple[int, FrameHashes]:
    return max(image.size), function(image)


def _hashes(hasher: Hasher, data: bytes) -> list[FrameHashes] | Failure:
    try:
        return hasher.of_bytes(data)
    except Rejected as rejected:
        return Failure(rejected.code, rejected.detail)


@dataclass(frozen=True)
class Door:
    """A project's screens at one door, which its records name; `records` is the file that they go to."""

    screens: Screens
    name: str
    records: Path

    def opener(self, preprocess: Preprocess) -> Callable[[bytes], FramePixels | Opened]:
        """Return what a worker is to do with a content."""
        if not self.screens.perceptual:
            return preprocess
        return partial(open_both, preprocess, self.screens.hasher)

    def judge(self, data: bytes, exact: Verdict, outcome: FramePixels | Opened | Failure) -> Verdict:
        """Return what all screens say of a content, given what a worker made of it. It waits for the hooks."""
        hashed: Hashed = None
        if self.screens.perceptual:
            hashed = outcome.hashed if isinstance(outcome, Opened) else _failure(outcome)
        return self.screens.judge(data, exact, hashed)

    def record(self, verdict: Verdict, origin: str) -> list[dict[str, str]]:
        """Record a match, and return its rows.

        Raises:
            UserError, OSError: the file is no table of records, or cannot be written.

        """
        rows = verdict.rows(origin=origin, source=f"nsfw {self.name}", door=self.name)
        escalations.append(self.records, rows)
        return rows

    def record_or_log(self, verdict: Verdict, origin: str) -> None:
        """Log a match and record it; where that fails, the log has the record: the picture is refused all the same."""
        for row in verdict.rows(origin=origin, source=f"nsfw {self.name}", door=self.name):
            _log.warning(ESCALATED, extra={"record": row})
        try:
            self.record(verdict, origin)
        except (UserError, OSError):
            _log.exception("the record of a match cannot be written to %s", self.records)


def _failure(outcome: FramePixels | Failure) -> Hashed:
    return outcome if isinstance(outcome, Failure) else None


def frames_of(outcome: FramePixels | Opened | Failure) -> FramePixels | Failure:
    """Return the model's input of what a worker made of a content."""
    return outcome.frames if isinstance(outcome, Opened) else outcome


class _Read(NamedTuple):
    """A content as a worker has read it."""

    sha256: str
    opened: FramePixels | Opened | Failure


@dataclass
class ScreenedReader:
    """Reads sources for scoring as `images.byte_source.ByteReader` does, but what screens match has no frames.

    `verdicts`: of the contents that matched, by sha256.
    """

    door: Door
    preprocess: Preprocess
    max_bytes: int
    cost: WorkerLimits
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def run(self, contents: Iterable[ByteSource]) -> Iterator[ReadResult | Failure]:
        """Yield, in order, what was read of each source.

        Raises:
            UserError: workers cannot be started, or a hook is out of service.

        """
        sources: deque[ByteSource] = deque()

        def listed() -> Iterator[ByteSource]:
            for source in contents:
                sources.append(source)
                yield source

        read = partial(_read, self.door.opener(self.preprocess), self.max_bytes)
        for outcome in sandbox.run(read, listed(), self.cost, weigh=lambda source: source.weight):
            yield self._judged(sources.popleft(), outcome)

    def _judged(self, source: ByteSource, outcome: _Read | Failure) -> ReadResult | Failure:
        try:
            data = load(source, self.max_bytes)
        except Rejected as rejected:
            return ReadResult("", None, str(rejected))
        opened = outcome.opened if isinstance(outcome, _Read) else outcome
        verdict = self.door.judge(data, self.door.screens.exact(data), opened)
        if verdict.matches:
            self.verdicts[verdict.sha256] = verdict
        elif isinstance(outcome, Failure):
            return outcome
        frames = frames_of(opened)
        problem = verdict.reason if verdict.matches else _problem(verdict, outcome, frames)
        return ReadResult(verdict.sha256, None if problem or isinstance(frames, Failure) else frames, problem)

    def record(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Record the matches among rows of a result, by their paths."""
        for row in rows:
            if escalations.is_escalated(str(row["error"])) and row["sha256"] in self.verdicts:
                self.door.record(self.verdicts[row["sha256"]], str(row["path"]))


def _problem(verdict: Verdict, outcome: _Read | Failure, frames: FramePixels | Failure) -> str:
    """Return why a content that matches nothing has no frames; "" if it has."""
    if verdict.problem:
        return f"unavailable: {verdict.reason}"
    if isinstance(outcome, _Read) and outcome.sha256 != verdict.sha256:
        return "unavailable: it has changed while it was read"
    return str(frames) if isinstance(frames, Failure) else ""


def _read(opener: Callable[[bytes], FramePixels | Opened], max_bytes: int, source: ByteSource) -> _Read:
    data = load(source, max_bytes)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        return _Read(sha256, opener(data))
    except Rejected as rejected:
        return _Read(sha256, Failure(rejected.code, rejected.detail))
