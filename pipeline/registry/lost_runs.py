"""Versions whose run was deleted in MLflow: its artifacts hold the evidence, which gates and serving need.

A run is easily deleted in MLflow's UI. Until `mlflow gc` it can be restored; after that the evidence is attached to
another run, from the copy that every command caches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.core import paths
from pipeline.params.root import load_params
from pipeline.registry import evidence_store
from pipeline.tracking import server
from pipeline.tracking.absent import or_none
from pipeline.tracking.mlflow_facts import ID_TAG
from pipeline.tracking.publish import runs_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from pipeline.params.register import Register

    Act = Callable[[MlflowClient, Register], list[str]]

DELETED, GONE = "deleted", "gone"
_KIND = {"nsfw.kind": "evidence"}


def findings(client: MlflowClient, model: str, versions: Mapping[str, int | None]) -> list[str]:
    """Return a line, with what to do, for each version whose run was deleted; `versions` are by name (`production`)."""
    lines = []
    for name, number in versions.items():
        version = None if number is None else _version(client, model, number)
        if version is None or not (state := _state(client, evidence_store.run_of(version))):
            continue
        whose = f"the run of version {number} ({name})"
        if state == DELETED:
            lines.append(
                f"{whose} was deleted in MLflow, and `mlflow gc` takes its evidence for good: `nsfw sync` restores it"
            )
        elif evidence_store.EVIDENCE_TAG in version.tags:
            lines.append(f"{whose} is gone for good, and its evidence with it: `nsfw sync` attaches a copy")
    return lines


def run_action(act: Act) -> list[str]:
    """Run `restore` or `attach`; [] outside a project, or if MLflow fails, which publishing then reports."""
    if not paths.PARAMS.is_file():
        return []
    params = load_params()

    def inside() -> list[str]:
        with server.session() as client:
            return act(client, params.register_)

    try:
        return server.run_watched(inside)
    except Exception:  # noqa: BLE001 -- MLflow's client raises whatever it likes
        return []


def restore(client: MlflowClient, register: Register) -> list[str]:
    """Restore the deleted runs of production and challenger; return a line for each."""
    lines = []
    for version in _in_use(client, register):
        if _state(client, evidence_store.run_of(version)) == DELETED:
            client.restore_run(evidence_store.run_of(version))
            lines.append(f"restored the run of version {version.version}, which had been deleted in MLflow")
    return lines


def attach(client: MlflowClient, register: Register) -> list[str]:
    """Attach the evidence of production and challenger to another run if theirs is gone; return a line for each.

    It comes from the copy in `.cache/evidence` with the digest in the version's tags, so the evidence is unchanged.
    """
    lines = []
    for version in _in_use(client, register):
        if _state(client, evidence_store.run_of(version)) != GONE:
            continue
        copy = evidence_store.cached_copy(version)
        if copy is None:
            lines.append(
                f"the run of version {version.version} is gone, and its evidence with it; no copy of that lies "
                "here. Run this where the version was registered, or promote another"
            )
            continue
        evidence_store.move(client, version, copy, _another(client, version))
        lines.append(f"attached the evidence of version {version.version} to another run: its own is gone")
    return lines


def _in_use(client: MlflowClient, register: Register) -> Iterator[ModelVersion]:
    registered = or_none(lambda: client.get_registered_model(register.model))
    aliases = registered.aliases if registered else {}
    for number in sorted({int(aliases[name]) for name in (register.production, register.alias) if name in aliases}):
        version = _version(client, register.model, number)
        if version is not None and evidence_store.EVIDENCE_TAG in version.tags:
            yield version


def _version(client: MlflowClient, model: str, number: int) -> ModelVersion | None:
    return or_none(lambda: client.get_model_version(model, str(number)))


def _state(client: MlflowClient, run_id: str) -> str:
    """Return DELETED, GONE, or "" for a run that exists or a version without a run."""
    if not run_id:
        return ""
    run = or_none(lambda: client.get_run(run_id))
    if run is None:
        return GONE
    return DELETED if run.info.lifecycle_stage == "deleted" else ""


def _another(client: MlflowClient, version: ModelVersion) -> str:
    """Return a run for a version's evidence: that of its record, if it was published again, or a new one."""
    experiment = server.experiment_id(client)
    record = version.tags.get(ID_TAG)
    published = runs_of(client, experiment, record) if record else []
    if published:
        return str(published[0].info.run_id)
    name = f"evidence of version {version.version}"
    run = client.create_run(experiment, run_name=name, tags={**_KIND, "nsfw.evidence_of": str(version.version)})
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)
