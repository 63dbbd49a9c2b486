"""Copies a run record to MLflow. It is idempotent by record id: any number of publications leave one run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.tracking import artifact_proxy, server, store_address
from pipeline.tracking.jsonl import read_lines
from pipeline.tracking.mlflow_facts import ID_TAG, PARENT_TAG, chunks, key, log_facts, milliseconds, run_tags
from pipeline.tracking.run_record import ARTIFACTS, METRICS_FILE, RECORD_FILE, SYSTEM_FILE, RunRecord
from pipeline.tracking.unreachable import Unreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_COMPLETE_TAG = "nsfw.complete"
_RESUMED_TAG = "nsfw.resumed"  # how often the run died and went on
_REASON_TAG = "nsfw.reason"
_MODEL_FOLDER = "model"
MLFLOW_PARENT = "mlflow.parentRunId"
_METRICS_LIMIT = 1000  # of one request
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicationResult:
    """The run of a record in MLflow, or the problem if it has none; `complete` means that nothing is left to copy."""

    record_id: str
    run_id: str | None
    complete: bool
    problem: str = ""


def publish(folder: Path) -> PublicationResult:
    """Copy the record in `folder` to MLflow. Failures of MLflow are returned as `problem`, not raised.

    Raises:
        UserError: the folder holds no record.

    """
    record = RunRecord.load(folder)
    publication = Publication(folder)
    try:
        server.run_watched(publication.advance)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 -- MLflow's client raises its own, requests', SQLAlchemy's and OSErrors
        return PublicationResult(record.id, publication.run_id, complete=False, problem=describe(error))
    return PublicationResult(record.id, publication.run_id, complete=publication.complete)


_CREDENTIALS = {
    "UNAUTHENTICATED": "it asks for a user's name and password, or does not know these (HTTP 401). Set "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "PERMISSION_DENIED": "this user may not do that (HTTP 403). Ask the server's administrator, or set "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD of one who may",
}


def describe(error: BaseException) -> str:
    """Return an error as a one-line message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if problem := artifact_proxy.problem(error):
        return f"MLflow at {store_address.store_name()} {problem}"
    if advice := _CREDENTIALS.get(artifact_proxy.error_code(error)):
        return f"MLflow at {store_address.store_name()} refused: {advice}"
    return lines[0][:300] if isinstance(error, Unreachable) else f"MLflow refused: {lines[0][:300]}"


class Publication:
    """The publication of one record; `advance` copies what is new since the last call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_id: str | None = None
        self.complete = False
        self._offsets = {METRICS_FILE: 0, SYSTEM_FILE: 0}

    def advance(self) -> None:
        """Copy what the record has and MLflow lacks; end the run there when the record has ended.

        Raises:
            Unreachable: the server does not answer. MLflow's own errors pass through.

        """
        if self.complete:
            return
        record = RunRecord.load(self.folder)  # read before the lines: a record that has ended gets no more lines
        status, reason = end_status(record)
        fresh = {file: read_lines(self.folder / file, offset) for file, offset in self._offsets.items()}
        if self.run_id and status is None and not any(lines for lines, _ in fresh.values()):
            return
        with server.session() as client:
            run = _find_or_create(client, record)
            self.run_id = run.info.run_id
            if not _is_complete(run, record):
                _reopen(client, run, record)
                for file, (lines, offset) in fresh.items():
                    _log_lines(client, run.info.run_id, lines)
                    self._offsets[file] = offset
                if status is not None:
                    _finish_run(client, run.info.run_id, record, status, reason)
            self.complete = status is not None


def _is_complete(run: Run, record: RunRecord) -> bool:
    """Whether MLflow has all of the record, including the part after its last resumption."""
    tags: Mapping[str, str] = run.data.tags
    return tags.get(_COMPLETE_TAG) == "true" and tags.get(_RESUMED_TAG, "0") == _resume_count(record)


def is_published(client: MlflowClient, record: RunRecord) -> bool:
    """Whether a record has ended, and MLflow has all of it, in any experiment. Nothing is written."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, filter_string=f"tags.`{ID_TAG}` = '{record.id}'")
    return end_status(record)[0] is not None and any(_is_complete(run, record) for run in runs)


def _resume_count(record: RunRecord) -> str:
    return str(record.document.get("resumed", 0))


def _reopen(client: MlflowClient, run: Run, record: RunRecord) -> None:
    """Set a run that had ended to running again if its record was resumed."""
    if run.data.tags.get(_RESUMED_TAG, "0") == _resume_count(record):
        return
    client.update_run(run.info.run_id, status="RUNNING")
    for tag, value in ((_COMPLETE_TAG, "false"), (_REASON_TAG, ""), (_RESUMED_TAG, _resume_count(record))):
        client.set_tag(run.info.run_id, tag, value)


def end_status(record: RunRecord) -> tuple[str | None, str]:
    """Return MLflow's status and the reason for a record that has ended, or (None, "") for one that still runs."""
    if record.status != "RUNNING":
        return record.status, str(record.document.get("reason") or "")
    if record.has_live_owner:
        return None, ""
    return "KILLED", "the process died before the run ended"


def _find_or_create(client: MlflowClient, record: RunRecord) -> Run:
    experiment = server.experiment_id(client)
    runs = runs_of(client, experiment, record.id)
    if not runs:
        _create(client, experiment, record)
        runs = runs_of(client, experiment, record.id)
    for spare in runs[1:]:  # created at the same time by another machine; both sort them alike
        client.delete_run(spare.info.run_id)
    return runs[0]


def runs_of(client: MlflowClient, experiment: str, record_id: str) -> list[Run]:
    """Return a record's runs in MLflow: one, or for a moment two."""
    runs = client.search_runs([experiment], filter_string=f"tags.`{ID_TAG}` = '{record_id}'")
    return sorted(runs, key=lambda run: str(run.info.run_id))


def _create(client: MlflowClient, experiment: str, record: RunRecord) -> None:
    """Create the run with its params and inputs. The creation includes the tags, so every run has its record's id."""
    document = record.document
    run = client.create_run(
        experiment,
        start_time=milliseconds(document["started_at"]),
        tags=run_tags(record),
        run_name=document.get("name"),
    )
    log_facts(client, run.info.run_id, record)
    _nest(client, run.info.run_id, record)


def _nest(client: MlflowClient, run_id: str, record: RunRecord) -> None:
    """Nest a run under its parent's run, if MLflow has that."""
    parent = record.document.get("tags", {}).get(PARENT_TAG)
    above = runs_of(client, server.experiment_id(client), parent) if parent else []
    if above:
        client.set_tag(run_id, MLFLOW_PARENT, above[0].info.run_id)


def _log_lines(client: MlflowClient, run_id: str, lines: Sequence[Mapping[str, Any]]) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(key(name), float(value), int(line["timestamp_ms"]), int(line["step"]))
        for line in lines
        for name, value in line["metrics"].items()
    ]
    for chunk in chunks(metrics, _METRICS_LIMIT):
        client.log_batch(run_id, metrics=chunk)


def _finish_run(client: MlflowClient, run_id: str, record: RunRecord, status: str, reason: str) -> None:
    """Copy params (the creation may have been interrupted), files and status; then set the tag that says complete."""
    log_facts(client, run_id, record)
    _nest(client, run_id, record)
    _upload(client, run_id, record)
    if reason:
        client.set_tag(run_id, _REASON_TAG, reason)
    client.set_terminated(run_id, status=status, end_time=_end(record))
    client.set_tag(run_id, _COMPLETE_TAG, "true")


def _upload(client: MlflowClient, run_id: str, record: RunRecord) -> None:
    files = {RECORD_FILE: record.folder / RECORD_FILE}
    artifacts = record.folder / ARTIFACTS
    files |= {file.relative_to(artifacts).as_posix(): file for file in sorted(artifacts.rglob("*")) if file.is_file()}
    if record.model_path.is_file():
        files[f"{_MODEL_FOLDER}/{paths.MODEL_FILE}"] = record.model_path
    present = dict(_listing(client, run_id, None))
    for name, file in files.items():
        if present.get(name) != file.stat().st_size:
            client.log_artifact(run_id, str(file), artifact_path=name.rpartition("/")[0] or None)


def _listing(client: MlflowClient, run_id: str, folder: str | None) -> Iterator[tuple[str, int]]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _listing(client, run_id, entry.path)
        else:
            yield entry.path, int(entry.file_size or 0)


def _end(record: RunRecord) -> int:
    """Return when the run ended, in ms: as recorded, or else when it last logged."""
    finished = record.document.get("finished_at")
    if finished:
        return milliseconds(finished)
    stamps = [
        line["timestamp_ms"] for file in (METRICS_FILE, SYSTEM_FILE) for line in read_lines(record.folder / file)[0]
    ]
    return max(stamps, default=milliseconds(record.document["started_at"]))
