"""Publishes to MLflow what it lacks: run records, then the registration of the model."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import read_object
from pipeline.registry.model_versions import Registration
from pipeline.registry.model_versions import register as register_without_evidence
from pipeline.registry.package import Candidate
from pipeline.tracking import server, store_address
from pipeline.tracking.publish import PublicationResult, end_status, publish
from pipeline.tracking.run_record import RECORD_FILE, RunRecord
from pipeline.tracking.unreachable import Unreachable


@dataclass(frozen=True)
class Report:
    """The result of a sync: each record's run, the registration if there is one, and the records removed from disk."""

    records: list[PublicationResult]
    registration: Registration | None
    removed: list[str]

    @property
    def problems(self) -> list[str]:
        """The distinct problems of records and registration."""
        problems = [record.problem for record in self.records]
        if self.registration is not None:
            problems.append(self.registration.problem)
        return sorted({problem for problem in problems if problem})

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {**asdict(self), "problems": self.problems}


Register = Callable[[Candidate], Registration]


def sync(register: Register | None = None) -> Report:
    """Publish `.cache/runs/*`, `build/head`, `build/finetuned` and a registration that MLflow lacks.

    `register` registers a candidate; without it, that is done without evidence (`promotion.registration` adds it).

    A record that MLflow has completely is removed from `.cache/runs`. Failures of MLflow are not raised but are in the
    report's `problems`; another sync continues from there.
    """
    records: list[PublicationResult] = []
    removed: list[str] = []
    down = ""
    for folder in _folders():
        published = _not_published(folder, down) if down else _publish(folder)
        records.append(published)
        if not published.complete and not _server_answers():
            down = published.problem
        if published.complete and folder.parent == paths.RUNS and is_obsolete(folder):
            shutil.rmtree(folder)
            removed.append(published.record_id)
    return Report(records, _registration(register or partial(register_without_evidence, only_forward=True)), removed)


def _folders() -> Iterator[Path]:
    candidates = [*sorted(paths.RUNS.glob("*")), paths.HEAD, paths.FINETUNED]
    return (folder for folder in candidates if (folder / RECORD_FILE).is_file())


def _publish(folder: Path) -> PublicationResult:
    try:
        return publish(folder)
    except UserError as error:
        return PublicationResult(folder.name, None, complete=False, problem=str(error))


def _not_published(folder: Path, problem: str) -> PublicationResult:
    return PublicationResult(folder.name, None, complete=False, problem=problem)


def _server_answers() -> bool:
    try:
        server.check(store_address.tracking_uri())
    except Unreachable:
        return False
    return True


def is_obsolete(folder: Path) -> bool:
    """Whether nothing but its publication needs a record any more: it has ended, and no training resumes it."""
    try:
        record = RunRecord.load(folder)
    except UserError:  # another process has just removed it
        return False
    # A live owner may be about to copy it into build/; a resumable run needs it.
    return end_status(record)[0] is not None and not record.has_live_owner and not record.resumable


def _registration(register: Register) -> Registration | None:
    candidate = candidate_in_build()
    return None if candidate is None else register(candidate)


def candidate_in_build() -> Candidate | None:
    """Return the candidate of build/registered.json; None if there is none, or build/ holds another model now.

    Raises:
        UserError: build/registered.json cannot be read.

    """
    if not paths.REGISTERED.is_file() or not (paths.FINETUNED / RECORD_FILE).is_file():
        return None
    document = read_object(paths.REGISTERED, "model_sha256", "request.labels", "request.unsafe")
    try:
        return Candidate.from_document(document, paths.FINETUNED)
    except TypeError as error:  # a request of another version of this program
        raise UserError(
            f"{paths.REGISTERED} cannot be taken up again ({error}). Run `dvc repro -f register`."
        ) from None
