"""`nsfw data gc`: what nothing needs any more in the caches, in MLflow's store and in DVC's cache, and its deletion."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import dvc_objects, project
from pipeline.data.dvc_objects import Cache
from pipeline.garbage import artifacts, caches, objects
from pipeline.garbage.parts import Part
from pipeline.params.root import Params
from pipeline.registry import sync, version_needs
from pipeline.registry.version_needs import VersionNeeds
from pipeline.tracking import main_project, publish, server, store_address, store_relocation
from pipeline.tracking.run_record import RECORD_FILE, RunRecord
from pipeline.tracking.unreachable import Unreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Registry:
    """What MLflow tells: the versions' needs, records that are published completely, and what its store can lose."""

    needs: Sequence[VersionNeeds]
    published: Sequence[Path]
    part: Part


def collect(params: Params, *, delete: bool, without_versions: bool = False) -> list[Part]:
    """Return what can go, part by part, once it is deleted if `delete` is true.

    A part that has a problem is left as it is; the others do not wait for it.

    Raises:
        UserError: something is at work in this project (a training, an ingest, a `dvc` command).

    """
    now = time.time()
    _check_idle()
    with project.ingest_lock(), dvc_objects.locked() as cache:
        registry, problem = _ask(params, now)
        needs = None if registry is None else registry.needs
        evidence = None if needs is None else {digest for need in needs for digest in need.evidence}
        published = None if registry is None else registry.published
        of_mlflow = Part(artifacts.NAME, problem=problem) if registry is None else registry.part
        parts = [
            caches.plan(params, evidence, published, now),
            of_mlflow,
            objects.plan(cache, needs, without_versions=without_versions),
        ]
        return [_delete(part, cache, now) for part in parts] if delete else parts


def _check_idle() -> None:
    """Raise UserError in a temporary experiment, and while a run writes its record here."""
    if main_project.is_temporary():
        raise UserError(f"this is a temporary experiment of DVC. Run this in {main_project.root()}.")
    for record in _records():
        if record.has_live_owner and record.status == "RUNNING":
            raise UserError(f"the run {record.id} ({record.kind}) is at work. Wait for it to end, and run this again.")


def _records() -> list[RunRecord]:
    records = []
    for file in sorted(paths.RUNS.glob(f"*/{RECORD_FILE}")):
        try:
            records.append(RunRecord.load(file.parent))
        except UserError:  # `nsfw sync` tells of it, and nothing here touches it
            continue
    return records


def _ask(params: Params, now: float) -> tuple[Registry | None, str]:
    """Return what MLflow tells and "", or None and why it tells nothing."""
    database = store_address.sqlite_file(store_address.tracking_uri())
    if database is not None and not database.is_file():  # asking would make it
        return Registry(
            (), (), Part(artifacts.NAME, notes=(f"there is no store yet ({store_address.store_name()})",))
        ), ""
    try:
        return server.run_watched(lambda: _read(params, database, now)), ""
    except (Unreachable, UserError) as error:
        return None, f"{error}. What is registered is not known."
    except Exception as error:  # noqa: BLE001 -- MLflow's client raises whatever it likes
        return None, f"{publish.describe(error)}. What is registered is not known."


def _read(params: Params, database: Path | None, now: float) -> Registry:
    with server.session() as client:
        needs = version_needs.collect(client, params.register_.model)
        published = [record.folder for record in _records() if _is_done(client, record)]
        if database is None:
            where = store_address.store_name()
            note = f"{where} is a server: its runs and artifacts stay; `mlflow gc` on that machine empties its bin"
            return Registry(needs, published, Part(artifacts.NAME, notes=(note,)))
        return Registry(needs, published, artifacts.plan(database, _artifact_root(database), now))


def _is_done(client: MlflowClient, record: RunRecord) -> bool:
    return sync.is_obsolete(record.folder) and publish.is_published(client, record)


def _artifact_root(database: Path) -> Path:
    return database.parent / store_relocation.ARTIFACTS


def _delete(part: Part, cache: Cache, now: float) -> Part:
    """Delete what a part lists; return the part, with the problem where that failed."""
    if part.problem or not part.count:
        return part
    try:
        if part.name == caches.NAME:
            caches.delete(part)
        elif part.name == objects.NAME:
            cache.delete()
        else:
            _delete_artifacts(now)
    except UserError as error:
        return Part(part.name, part.unused, part.stays, part.notes, str(error))
    return part


def _delete_artifacts(now: float) -> None:
    database = store_address.sqlite_file(store_address.tracking_uri())
    if database is not None:
        with server.session() as client:
            artifacts.delete(client, database, _artifact_root(database), now)
