"""Publishes a run record while its run trains, from a thread that the training never waits for."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.tracking import server
from pipeline.tracking.publish import Publication, describe
from pipeline.tracking.run_record import Kind, RunRecord
from pipeline.tracking.system_metrics import SystemSampler

_log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
_FIRST_RETRY_SECONDS = 5.0
_LAST_RETRY_SECONDS = 60.0


@contextmanager
def tracked_run(
    kind: Kind,
    *,
    params: Mapping[str, Any],
    inputs: Sequence[Path],
    name: str | None = None,
    root: Path = paths.RUNS,
    resume: Path | None = None,
    resumable: Path | None = None,
    publish: bool = True,
) -> Iterator[RunRecord]:
    """Begin a run record, sampled and published while the context lasts; finished, or failed, when it is left.

    `resume` is the folder of a record to go on with instead; `resumable` as in `RunRecord.start`.

    with tracked_run("train", params=params, inputs=[paths.SPLITS]) as record:
        record.log_epoch(0, {"val_loss": 0.7})
        model.save(record.model_path)
    record.copy_to(paths.HEAD)
    """
    if publish:
        _refuse_a_bare_database()
    if resume is None:
        record = RunRecord.start(kind, params=params, inputs=inputs, name=name, root=root, resumable=resumable)
        if doubt := commit_doubt(record.document["lineage"]["git"]):
            _log.warning("%s", doubt)
    else:
        record = RunRecord.load(resume)
        record.reopen()
    with LivePublisher(record) if publish else nullcontext(), record, SystemSampler(record):
        yield record


def _refuse_a_bare_database() -> None:
    """Raise UserError now where it would be raised when the model is to be stored."""
    if not server.is_database_server():
        return
    try:
        server.patiently(_experiment)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 -- a dead or closed database stops no training; the publisher tells of it
        return


def _experiment() -> str:
    with server.session() as client:
        return server.experiment_id(client)


def commit_doubt(git: Mapping[str, Any]) -> str | None:
    """Return why nobody could rebuild what is about to be trained, as `lineage.git_state` tells; None if one can.

    The gate `clean` finds the same at the end of a day.
    """
    if git["commit"] is None:
        return f"this run has no commit, so the gate `clean` will refuse its model. git: {git['problem']}"
    if git["dirty"]:
        return "this run trains from uncommitted changes: the gate `clean` passes once just these are committed."
    return None


class LivePublisher:
    """While the context lasts, a thread copies what the record gains to MLflow.

    Enter it before the record's own context (`with LivePublisher(record), record:`), so that it sees the record's end.
    A server that does not answer costs one warning, and a few seconds when the context is left; it is tried again now
    and then, and gets the rest when it comes back. Nothing of this is raised into the training thread.
    """

    def __init__(self, record: RunRecord, *, poll_seconds: float = _POLL_SECONDS) -> None:
        self._publication = Publication(record.folder)
        self._poll = poll_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-publisher", daemon=True)
        self._warned = False

    @property
    def run_id(self) -> str | None:
        """The run in MLflow, once there is one."""
        return self._publication.run_id

    @property
    def complete(self) -> bool:
        """Whether MLflow has all of a record that has ended."""
        return self._publication.complete

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            server.watch(self._thread)
        except server.Unreachable as error:
            self._warn(str(error))

    def _run(self) -> None:
        wait, retry = 0.0, _FIRST_RETRY_SECONDS
        while True:
            stopping = self._stop.wait(wait)
            try:
                self._publication.advance()
                wait, retry = self._poll, _FIRST_RETRY_SECONDS
            except Exception as error:  # noqa: BLE001 -- whatever MLflow does, the training goes on
                self._warn(describe(error))
                wait, retry = retry, min(2 * retry, _LAST_RETRY_SECONDS)
            if stopping:
                return

    def _warn(self, problem: str) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        _log.log(level, "%s. The run is recorded on disk all the same; `nsfw sync` publishes what is missing.", problem)
