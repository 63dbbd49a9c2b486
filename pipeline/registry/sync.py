"""Publishes to MLflow whatever it has missed: run records, then the registration of the model."""

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
from pipeline.registry.model_versions import register as plainly
from pipeline.registry.package import Candidate
from pipeline.tracking import server
from pipeline.tracking.publish import Published, ended, publish
from pipeline.tracking.run_record import RECORD_FILE, RunRecord


@dataclass(frozen=True)
class Report:
    """What a sync did: each record's run, the registration if there is one, the records no longer needed on disk."""

    records: list[Published]
    registration: Registration | None
    removed: list[str]

    @property
    def problems(self) -> list[str]:
        """Each thing that is still missing in MLflow, once."""
        found = [record.problem for record in self.records]
        if self.registration is not None:
            found.append(self.registration.problem)
        return sorted({problem for problem in found if problem})

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {**asdict(self), "problems": self.problems}


Register = Callable[[Candidate], Registration]


def sync(register: Register | None = None) -> Report:
    """Publish `.cache/runs/*`, `build/head`, `build/finetuned` and a registration that MLflow lacks.

    `register` is how, without evidence if not said: `promotion.registering` brings it along.

    A record that MLflow has whole is removed from `.cache/runs`. Nothing is raised for what MLflow does: the report's
    `problems` tell, and another sync goes on from there.
    """
    records: list[Published] = []
    removed: list[str] = []
    down = ""
    for folder in _folders():
        published = _skipped(folder, down) if down else _publish(folder)
        records.append(published)
        if not published.complete and not _answers():
            down = published.problem
        if published.complete and folder.parent == paths.RUNS and _abandoned(folder):
            shutil.rmtree(folder)
            removed.append(published.record_id)
    return Report(records, _registration(register or partial(plainly, only_forward=True)), removed)


def _folders() -> Iterator[Path]:
    candidates = [*sorted(paths.RUNS.glob("*")), paths.HEAD, paths.FINETUNED]
    return (folder for folder in candidates if (folder / RECORD_FILE).is_file())


def _publish(folder: Path) -> Published:
    try:
        return publish(folder)
    except UserError as error:
        return Published(folder.name, None, complete=False, problem=str(error))


def _skipped(folder: Path, problem: str) -> Published:
    return Published(folder.name, None, complete=False, problem=problem)


def _answers() -> bool:
    try:
        server.check(server.tracking_uri())
    except server.Unreachable:
        return False
    return True


def _abandoned(folder: Path) -> bool:
    try:
        record = RunRecord.load(folder)
    except UserError:  # another process that publishes has just removed it
        return False
    # Its owner may be about to copy it into build/; a run that can go on needs it.
    return ended(record)[0] is not None and not record.owned and not record.resumable


def _registration(register: Register) -> Registration | None:
    candidate = built()
    return None if candidate is None else register(candidate)


def built() -> Candidate | None:
    """Return the model in build/ as `register` was asked to register it; None where it was not, or is another by now.

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
