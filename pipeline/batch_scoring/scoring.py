"""Scores any number of inputs: sandbox workers decode the next ones while the network scores the current ones.

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
from pipeline.batch_scoring.report import Report
from pipeline.batch_scoring.rows import Row, RowMaker
from pipeline.core import executor
from pipeline.core.errors import UserError
from pipeline.images import sandbox, sandbox_chunks
from pipeline.images.byte_source import ByteReader, ByteSource, ReadResult, load
from pipeline.images.limits import Limits, Rejected
from pipeline.images.tars import printable
from pipeline.params.root import Params
from pipeline.registry.loading import title
from pipeline.registry.verification import OpenedModel
from pipeline.screening.doors import Door, ScreenedReader
from pipeline.screening.screens import Screens, open_screens

Run = Callable[[Iterator[ByteSource]], Iterator[ReadResult | sandbox.Failure]]


@dataclass(frozen=True)
class Job:
    """What to score, and the file for the rows; `restart` overwrites the result or parts of an earlier run."""

    paths: tuple[bytes, ...]
    out: Path
    restart: bool = False


def score(model: OpenedModel, params: Params, job: Job) -> Report:
    """Write a row for every input of `job` to its `out`; rows of an interrupted run are reused.

    Raises:
        UserError: `out` exists already or cannot be written, there are parts of another model, or the model cannot be
            loaded.

    """
    begun = time.monotonic()
    _check(job)
    limits = model.limits(Limits(**params.catalog.limits))
    cost = sandbox.WorkerLimits(params.score.seconds, params.score.memory_mb, executor.cores())
    screens = open_screens(params, cost=cost)
    about = recipe(model, limits, params) | ({"screens": screens.digest} if screens else {})
    with parts.open_parts(job.out, about, restart=job.restart) as folder:
        classifier = model.classifier()
        reader = ByteReader(classifier.preprocessor(limits), params.score.max_mb * 2**20)
        run: Run = partial(sandbox_chunks.run, reader.read, limits=cost, weigh=_weigh)
        screened = _screened(screens, reader, cost, Path(params.ingest.screens.records))
        if screened is not None:
            run = screened.run
        row_maker = RowMaker(classifier, title(model), partial(_digest, max_bytes=reader.max_bytes))
        columns = result.schema(classifier.labels)
        items = inputs.walk(job.paths, reader.max_bytes)
        reused, last = 0, -1
        with tqdm(desc="score", total=inputs.count(job.paths), unit="picture", disable=None) as bar:
            for part in score_parts(_plan(items, folder, columns), run, row_maker):
                if screened is not None:
                    screened.record(part.rows)
                parts.save(folder, part.number, pa.Table.from_pylist(part.rows, columns))
                reused, last = reused + len(part.rows) - part.new, part.number
                bar.update(len(part.rows))
        tally = result.assemble(_tables(folder, last, columns), job.out, classifier.labels)
        parts.remove(folder)
    contact, seconds = screens.contact if screens else "", time.monotonic() - begun
    return Report(job.out, title(model), classifier.decision.threshold, tally, reused, seconds, contact)


def _screened(
    screens: Screens | None, reader: ByteReader, cost: sandbox.WorkerLimits, records: Path
) -> ScreenedReader | None:
    """Return the reader that screens what it reads; None without screens."""
    if screens is None:
        return None
    return ScreenedReader(
        Door(screens, "score", records), reader.preprocessor.frames_from_bytes, reader.max_bytes, cost
    )


def recipe(model: OpenedModel, limits: Limits, params: Params) -> dict[str, Any]:
    """Return everything besides the input itself that a row depends on."""
    known = {name: model.spec.get(name) for name in ("labels", "unsafe", "size", "adapter", "decision", "model_sha256")}
    packages = {name: version(name) for name in ("pillow", "numpy", "tensorflow", "keras")}
    about = {"model": title(model), "limits": asdict(limits), "packages": packages, "part": parts.SIZE}
    return {**known, **about, "score": params.score.model_dump()}


class Planned(NamedTuple):
    """An input, the number of its part, and its row from an earlier run, if there is one."""

    number: int
    item: Item
    row: Row | None


def plan_rows(items: Iterable[Item], earlier: Callable[[int], Mapping[tuple[str, str], Row]]) -> Iterator[Planned]:
    """Yield the items with their earlier rows; `earlier` returns those of a part, by name and stamp."""
    rows: Mapping[tuple[str, str], Row] = {}
    for position, item in enumerate(items):
        number, offset = divmod(position, parts.SIZE)
        if not offset:
            rows = earlier(number)
        yield Planned(number, item, rows.get((item.name, item.stamp)))


@dataclass
class Part:
    """The rows of consecutive inputs; `new` of them were made by this run."""

    number: int
    rows: list[Row] = field(default_factory=list)
    new: int = 0


def score_parts(plan: Iterator[Planned], run: Run, row_maker: RowMaker) -> Iterator[Part]:
    """Yield the parts in order, each once it is complete.

    The network's batches end where a part ends, so a row's numbers do not depend on where a run was interrupted.
    """
    part: Part | None = None
    for step, read in _read(plan, run):
        if part is not None and part.number != step.number:
            row_maker.flush()
            yield part
            part = None
        part = part or Part(step.number)
        if step.row is not None:
            part.rows.append(step.row)
            continue
        part.rows.append(row_maker.row(step.item, read))
        part.new += 1
    if part is not None:
        row_maker.flush()
        yield part


def _read(plan: Iterator[Planned], run: Run) -> Iterator[tuple[Planned, ReadResult | sandbox.Failure]]:
    """Yield each step with its decoded content, in order; only what must be read goes through the workers."""
    waiting: deque[Planned] = deque()

    def contents() -> Iterator[ByteSource]:
        for step in plan:
            waiting.append(step)
            if _to_read(step):
                yield step.item.content

    for read in run(contents()):
        # The workers return results in order; steps without reading come before the next result.
        while not _to_read(waiting[0]):
            yield _unread(waiting.popleft())
        yield waiting.popleft(), read
    yield from map(_unread, waiting)


def _unread(step: Planned) -> tuple[Planned, ReadResult]:
    return step, ReadResult("", None, step.item.problem)


def _to_read(step: Planned) -> bool:
    return step.row is None and not step.item.problem


def _check(job: Job) -> None:
    result.check(job.out)
    if job.out.exists() and not (job.restart or parts.folder_of(job.out).exists()):
        raise UserError(f"{job.out} is there already. Choose another --out, or --restart to write it anew.")
    inside = job.out.absolute().parent.resolve()
    for path in job.paths:
        # Not pathlib, which raises for a link to itself and for names that are too long; both are inputs with a row.
        folder = b"" if b"\0" in path else os.path.realpath(path)
        if os.path.isdir(folder) and inside.is_relative_to(os.fsdecode(folder)):  # noqa: PTH112
            shown = printable(folder)
            raise UserError(f"{job.out} lies in {shown}, which is to be scored. Choose an --out outside of it.")


def _plan(items: Iterator[Item], folder: Path, columns: pa.Schema) -> Iterator[Planned]:
    def earlier(number: int) -> dict[tuple[str, str], Row]:
        table = parts.load(folder, number, columns)
        rows = [] if table is None else table.to_pylist()
        # Failures that may be due to load are tried again.
        return {(row["path"], row[result.STAMP]): row for row in rows if sandbox.is_final(row["error"])}

    return plan_rows(items, earlier)


def _tables(folder: Path, last: int, columns: pa.Schema) -> Iterator[pa.Table]:
    for number in range(last + 1):
        table = parts.load(folder, number, columns)
        if table is None:
            raise UserError(f"{parts.path_of(folder, number)} has vanished. Run the same command again.")
        yield table


def _weigh(content: ByteSource) -> int:
    return content.weight


def _digest(content: ByteSource, max_bytes: int) -> str:
    try:
        return hashlib.sha256(load(content, max_bytes)).hexdigest()
    except Rejected:
        return ""
