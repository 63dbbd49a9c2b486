"""Score any number of inputs: decoded in sandbox workers while the network is at work on the ones before.

report = score(model, params, Job((b"scrape",), Path("scores.parquet")))
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from tqdm import tqdm

from pipeline.batch_scoring import inputs, parts, result
from pipeline.batch_scoring.inputs import Item
from pipeline.batch_scoring.result import Tally
from pipeline.core import executor
from pipeline.core.errors import UserError
from pipeline.images import sandbox
from pipeline.images.byte_source import Content, Read, Reading, load
from pipeline.images.limits import Limits, Rejected
from pipeline.images.preprocessing import FrameSquares, Squaring
from pipeline.params.root import Params
from pipeline.registry.loading import title
from pipeline.registry.verification import Verified
from pipeline.serving.classifier import BATCH, Classifier

Row = dict[str, Any]
Run = Callable[[Iterator[Content]], Iterator[Read | sandbox.Failure]]


@dataclass(frozen=True)
class Job:
    """What to score, and where the rows go; `restart`: over what an earlier run has left there."""

    paths: tuple[bytes, ...]
    out: Path
    restart: bool = False


@dataclass(frozen=True)
class Report:
    """What was done: the rows counted, how many of them an earlier run had made, and how long this one took."""

    out: Path
    model: str
    threshold: float | None
    tally: Tally
    kept: int
    seconds: float

    def to_document(self) -> dict[str, Any]:
        """Return it for JSON."""
        new = self.tally.rows - self.kept
        return {
            "out": str(self.out),
            "model": self.model,
            "threshold": self.threshold,
            "rows": self.tally.rows,
            "scored": self.tally.scored,
            "unreadable": dict(sorted(self.tally.unreadable.items())),
            "flagged": None if self.threshold is None else self.tally.flagged,
            "kept": self.kept,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(new / self.seconds, 2) if self.seconds else None,
        }

    def lines(self) -> list[str]:
        """Return it for a terminal."""
        tally = self.tally
        text = [f"{self.model}: {tally.scored} of {tally.rows} inputs scored"]
        if self.kept:
            text[0] += f" ({self.kept} rows by the run that was cut short)"
        if tally.unreadable:
            told = ", ".join(f"{count} {code}" for code, count in sorted(tally.unreadable.items()))
            text.append(f"unreadable: {tally.unreadable.total()} ({told}); each has its row, with the reason")
        if self.threshold is None:
            text.append(
                "decided: nothing; this version was registered without a threshold. `dvc repro -f register` (or `nsfw "
                "import-model`) registers it with the one of its evidence"
            )
        else:
            text.append(f"unsafe: {tally.flagged} at a score of {self.threshold:.6g} or more")
        return [*text, f"wrote {self.out}"]


def score(model: Verified, params: Params, job: Job) -> Report:
    """Write a row for every input of `job` to its `out`; the rows that an interrupted run has made are not made again.

    Raises:
        UserError: `out` is there already, or cannot be; rows of another model are there; the model cannot be loaded.

    """
    begun = time.monotonic()
    _check(job)
    limits = model.limits(Limits(**params.catalog.limits))
    with parts.opened(job.out, recipe(model, limits, params), restart=job.restart) as folder:
        classifier = model.classifier()
        reading = Reading(Squaring(limits, classifier.size), params.score.max_mb * 2**20)
        cost = sandbox.Limits(params.score.seconds, params.score.memory_mb, executor.cores())
        run: Run = partial(sandbox.run, reading.read, limits=cost, weigh=_weigh)
        maker = Maker(classifier, title(model), partial(_digest, max_bytes=reading.max_bytes))
        columns = result.schema(classifier.labels)
        items = inputs.walk(job.paths, reading.max_bytes)
        kept, last = 0, -1
        with tqdm(desc="score", total=inputs.count(job.paths), unit="picture", disable=None) as bar:
            for part in scored(_planned(items, folder, columns), run, maker):
                parts.keep(folder, part.number, pa.Table.from_pylist(part.rows, columns))
                kept, last = kept + len(part.rows) - part.new, part.number
                bar.update(len(part.rows))
        tally = result.assemble(_tables(folder, last, columns), job.out, classifier.labels)
        parts.remove(folder)
    return Report(job.out, title(model), classifier.decision.threshold, tally, kept, time.monotonic() - begun)


def recipe(model: Verified, limits: Limits, params: Params) -> dict[str, Any]:
    """Return all that a row depends on beside the input itself."""
    known = {name: model.spec.get(name) for name in ("labels", "unsafe", "size", "adapter", "decision", "model_sha256")}
    packages = {name: version(name) for name in ("pillow", "numpy", "tensorflow", "keras")}
    about = {"model": title(model), "limits": asdict(limits), "packages": packages, "part": parts.SIZE}
    return {**known, **about, "score": params.score.model_dump()}


class Planned(NamedTuple):
    """An input, the number of its part, and the row that an earlier run has made of it."""

    number: int
    item: Item
    row: Row | None


def planned(items: Iterable[Item], earlier: Callable[[int], Mapping[tuple[str, str], Row]]) -> Iterator[Planned]:
    """Yield the items with the rows that are there already: `earlier` gives those of a part, by name and stamp."""
    rows: Mapping[tuple[str, str], Row] = {}
    for place, item in enumerate(items):
        number, within = divmod(place, parts.SIZE)
        if not within:
            rows = earlier(number)
        yield Planned(number, item, rows.get((item.name, item.stamp)))


@dataclass
class Part:
    """The rows of consecutive inputs, `new` of which were made by this run."""

    number: int
    rows: list[Row] = field(default_factory=list)
    new: int = 0


def scored(plan: Iterator[Planned], run: Run, maker: "Maker") -> Iterator[Part]:
    """Yield the parts in order, each when its last row is there. Batches for the network end where a part ends.

    So a row's numbers do not depend on where a run was cut.
    """
    part: Part | None = None
    for step, read in _read(plan, run):
        if part is not None and part.number != step.number:
            maker.flush()
            yield part
            part = None
        part = part or Part(step.number)
        if step.row is not None:
            part.rows.append(step.row)
            continue
        part.rows.append(maker.row(step.item, read))
        part.new += 1
    if part is not None:
        maker.flush()
        yield part


def _read(plan: Iterator[Planned], run: Run) -> Iterator[tuple[Planned, Read | sandbox.Failure]]:
    """Yield what came of each step, in order; those that need no reading do not go through the workers."""
    waiting: deque[Planned] = deque()

    def contents() -> Iterator[Content]:
        for step in plan:
            waiting.append(step)
            if _to_read(step):
                yield step.item.content

    for read in run(contents()):
        while not _to_read(waiting[0]):
            yield _unread(waiting.popleft())
        yield waiting.popleft(), read
    yield from map(_unread, waiting)


def _unread(step: Planned) -> tuple[Planned, Read]:
    return step, Read("", None, step.item.problem)


def _to_read(step: Planned) -> bool:
    return step.row is None and not step.item.problem


class Maker:
    """Makes rows; their numbers follow when a batch is full."""

    def __init__(self, classifier: Classifier, model: str, digest: Callable[[Content], str]) -> None:
        self._classifier, self._model, self._digest = classifier, model, digest
        self._frames: list[FrameSquares] = []
        self._rows: list[Row] = []

    def row(self, item: Item, read: Read | sandbox.Failure) -> Row:
        """Return an input's row. If it was decoded, `flush` (at the latest) puts the numbers into it."""
        if isinstance(read, sandbox.Failure):  # its worker is gone, and has told nothing
            read = Read(self._digest(item.content), None, str(read))
        row: Row = {"path": item.name, "sha256": read.sha256, "error": read.problem, "model": self._model}
        row |= {result.STAMP: item.stamp, "threshold": self._classifier.decision.threshold}
        if read.frames is not None:
            row |= {"frames": read.frames.total, "frames_scored": len(read.frames.squares)}
            self._frames.append(read.frames)
            self._rows.append(row)
            if sum(len(frames.squares) for frames in self._frames) >= BATCH:
                self.flush()
        return row

    def flush(self) -> None:
        """Ask the network about what is waiting."""
        if not self._rows:
            return
        scores = self._classifier.classify_frames(self._frames)
        names = [f"p_{label}" for label in self._classifier.labels]
        columns = (scores.probabilities.tolist(), scores.unsafe.tolist(), scores.decisions, scores.deciding_frames)
        for row, probabilities, unsafe, decision, frame in zip(self._rows, *columns, strict=True):
            row.update(zip(names, probabilities, strict=True), unsafe=unsafe, decision=decision, deciding_frame=frame)
        self._frames, self._rows = [], []


def _check(job: Job) -> None:
    result.check(job.out)
    if job.out.exists() and not (job.restart or parts.folder_of(job.out).exists()):
        raise UserError(f"{job.out} is there already. Choose another --out, or --restart to write it anew.")
    inside = job.out.absolute().parent.resolve()
    for path in job.paths:
        # os.path, for pathlib raises where a link leads back to itself, or a name is too long: inputs, with a row each.
        folder = b"" if b"\0" in path else os.path.realpath(path)
        if os.path.isdir(folder) and inside.is_relative_to(os.fsdecode(folder)):  # noqa: PTH112
            shown = inputs.readable(folder)
            raise UserError(f"{job.out} lies in {shown}, which is to be scored. Choose an --out outside of it.")


def _planned(items: Iterator[Item], folder: Path, columns: pa.Schema) -> Iterator[Planned]:
    def earlier(number: int) -> dict[tuple[str, str], Row]:
        table = parts.load(folder, number, columns)
        rows = [] if table is None else table.to_pylist()
        # What load did to a worker is tried again.
        return {(row["path"], row[result.STAMP]): row for row in rows if sandbox.is_final(row["error"])}

    return planned(items, earlier)


def _tables(folder: Path, last: int, columns: pa.Schema) -> Iterator[pa.Table]:
    for number in range(last + 1):
        table = parts.load(folder, number, columns)
        if table is None:
            raise UserError(f"{parts.place(folder, number)} has vanished. Run the same command again.")
        yield table


def _weigh(content: Content) -> int:
    return content.weight


def _digest(content: Content, max_bytes: int) -> str:
    try:
        return hashlib.sha256(load(content, max_bytes)).hexdigest()
    except Rejected:
        return ""
