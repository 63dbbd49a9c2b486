"""What a local MLflow store holds, deleted things included, in one consistent read; and `mlflow gc` of named ones.

MLflow's client hides what is in the bin: deleted logged models, and the rows of every version at once.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pipeline.core.errors import UserError

_WAIT_SECONDS = 60.0
_READY = 2  # MLflow's number for a logged model that is complete
_DELETED = "deleted"


@dataclass(frozen=True)
class StoredRun:
    """A run; `location` is the folder of its artifacts, None where that is not on this machine."""

    id: str
    experiment: str
    deleted: bool
    location: Path | None


@dataclass(frozen=True)
class StoredModel:
    """A logged model; `complete`: its upload has ended; `created`: in seconds since 1970."""

    id: str
    experiment: str
    deleted: bool
    location: Path | None
    run: str
    complete: bool
    created: float


@dataclass(frozen=True)
class StoredVersion:
    """A version of a registered model (a ledger's entry is one, too), with everything that it may name in `names`.

    These are its run, the run of its evidence, and its source: `runs:/<id>/...`, `models:/<id>` or a path.
    """

    model: str
    number: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """A store: runs, logged models, versions, and the ids of deleted experiments."""

    runs: tuple[StoredRun, ...]
    models: tuple[StoredModel, ...]
    versions: tuple[StoredVersion, ...]
    deleted_experiments: tuple[str, ...]

    @property
    def entries(self) -> list[StoredRun | StoredModel]:
        """All that may have a folder of artifacts."""
        return [*self.runs, *self.models]


def read(database: Path) -> Contents:
    """Return what a store in a sqlite file holds.

    Raises:
        UserError: it is no store of the MLflow version that is installed.

    """
    uri = f"file:{quote(str(database.resolve()))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_SECONDS)) as connection:
            connection.execute("BEGIN")
            return _contents(connection)
    except sqlite3.Error as error:
        raise UserError(
            f"{database} cannot be read as MLflow's store ({error}). `make ui` migrates an old one."
        ) from None


def _contents(connection: sqlite3.Connection) -> Contents:
    runs = connection.execute("SELECT run_uuid, experiment_id, lifecycle_stage, artifact_uri FROM runs")
    models = connection.execute(
        "SELECT model_id, experiment_id, lifecycle_stage, artifact_location, source_run_id, status, "
        "creation_timestamp_ms FROM logged_models"
    )
    versions = connection.execute(
        "SELECT name, version, run_id, source, storage_location FROM model_versions "
        "WHERE current_stage IS NOT 'Deleted_Internal'"
    )
    tags: dict[tuple[str, int], list[str]] = {}
    for name, number, value in connection.execute(
        "SELECT name, version, value FROM model_version_tags WHERE key = 'nsfw.evidence_run'"
    ):
        tags.setdefault((name, number), []).append(value)
    experiments = connection.execute("SELECT experiment_id FROM experiments WHERE lifecycle_stage = ?", (_DELETED,))
    return Contents(
        tuple(StoredRun(run, str(of), stage == _DELETED, local_path(uri)) for run, of, stage, uri in runs),
        tuple(
            StoredModel(model, str(of), stage == _DELETED, local_path(uri), run or "", status == _READY, created / 1000)
            for model, of, stage, uri, run, status, created in models
        ),
        tuple(
            StoredVersion(name, number, tuple(filter(None, (run, source, at, *tags.get((name, number), ())))))
            for name, number, run, source, at in versions
        ),
        tuple(str(experiment) for (experiment,) in experiments),
    )


def local_path(uri: str) -> Path | None:
    """Return the folder that an artifact address names; None where that is not on this machine."""
    parts = urlsplit(uri or "")
    if not uri or parts.scheme not in {"", "file"}:
        return None
    return Path(unquote(parts.path) if parts.scheme else uri)


def purge(uri: str, runs: Sequence[str], models: Sequence[str], experiments: Sequence[str]) -> None:
    """Delete what is in the bin for good, by `mlflow gc`.

    MLflow takes an empty list for everything of its kind that is in the bin.

    Raises:
        UserError: MLflow refuses; what it had deleted by then is gone, and can be left out the next time.

    """
    command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", uri, "--tracking-uri", uri]
    for option, ids in (("--run-ids", runs), ("--logged-model-ids", models), ("--experiment-ids", experiments)):
        command += [option, ",".join(ids)] if ids else []
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 -- no shell; our own arguments
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1][:300]
        raise UserError(f"`mlflow gc` failed ({last}). Run this again.")
