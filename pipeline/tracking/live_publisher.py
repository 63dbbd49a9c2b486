"""Publishes a run record while its run trains, in a thread that never delays the training."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.tracking import server, store_address
from pipeline.tracking.publish import Publication, describe
from pipeline.tracking.record_document import Kind
from pipeline.tracking.run_record import RunRecord
from pipeline.tracking.system_metrics import SystemSampler
from pipeline.tracking.unreachable import Unreachable

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
    """Begin a run record; sample the machine and publish the record while the context lasts.

    Leaving the context finishes the record, or marks it as failed. `resume` is the folder of a record to continue
    instead of a new one; `resumable` is as in `RunRecord.start`.

    with tracked_run("train", params=params, inputs=[paths.SPLITS]) as record:
        record.log_epoch(0, {"val_loss": 0.7})
        model.save(record.model_path)
    record.copy_to(paths.HEAD)
    """
    if publish:
        _check_database_store()
    if resume is None:
        record = RunRecord.start(kind, params=params, inputs=inputs, name=name, root=root, resumable=resumable)
        if doubt := commit_doubt(record.document["lineage"]["git"]):
            _log.warning("%s", doubt)
    else:
        record = RunRecord.load(resume)
        record.reopen()
    with LivePublisher(record) if publish else nullcontext(), record, SystemSampler(record):
        yield record


def _check_database_store() -> None:
    """Raise UserError now if the store could not take the model after the training."""
    if not store_address.is_database_server():
        return
    try:
        server.run_watched(_experiment)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 -- a dead or closed database must not stop training; the publisher reports it
        return


def _experiment() -> str:
    with server.session() as client:
        return server.experiment_id(client)


def commit_doubt(git: Mapping[str, Any]) -> str | None:
    """Return why the training that starts could not be reproduced, from `lineage.git_state`; None if it could.

    The gate `clean` would find the same, but only after the training.
    """
    if git["commit"] is None:
        return f"this run has no commit, so the gate `clean` will refuse its model. git: {git['problem']}"
    if git["dirty"]:
        return "this run trains from uncommitted changes: the gate `clean` passes once just these are committed."
    return None


class LivePublisher:
    """While the context lasts, a thread copies new lines of the record to MLflow.

    Enter it before the record's own context (`with LivePublisher(record), record:`), so that it sees the record's end.
    A server that does not answer costs one warning, and a few seconds when the context is left. The thread retries with
    growing pauses, and copies the rest when the server is back. It raises nothing in the training thread.
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
        """Whether the record has ended and MLflow has all of it."""
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
        except Unreachable as error:
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
