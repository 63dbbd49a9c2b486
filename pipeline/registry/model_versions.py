"""Registers trained models: one version for each, with its evidence and lineage, and an alias on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.registry import descriptions, evidence_store, ledger
from pipeline.registry.package import SHA_TAG, Candidate, decision_tags, log_model
from pipeline.tracking import main_project, server, ui_pages
from pipeline.tracking.lineage import digest
from pipeline.tracking.mlflow_facts import ID_TAG, chunks, key, lineage_tags, milliseconds
from pipeline.tracking.publish import describe, publish
from pipeline.tracking.run_record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_SEARCHED = ("nsfw.git_commit", "nsfw.data_md5")
_FIGURES = ("macro_recall", "unsafe/recall")
_EXPERIMENT = "a temporary experiment's model is registered once it is the project's: `dvc exp apply NAME`"


@dataclass(frozen=True)
class Registration:
    """The registered version, or `pending` with the problem that prevented it."""

    model: str
    alias: str
    version: int | None
    pending: bool
    record_id: str
    model_sha256: str
    uri: str
    problem: str = ""


@dataclass(frozen=True)
class Bundle:
    """The evidence to store with a version: a folder, the digest of the evaluation in it, and the gate table."""

    folder: Path
    evaluation_sha256: str
    gates: Sequence[Mapping[str, Any]] = ()


def register(candidate: Candidate, *, only_forward: bool = False, bundle: Bundle | None = None) -> Registration:
    """Make the candidate a version of its registered model, with the alias on it. It is idempotent.

    The run record is published first if the server lacks it. A server that does not answer costs seconds and leaves the
    registration pending. A temporary experiment of DVC is always pending, because several may run at once: it is
    registered after `dvc exp apply`.

    Args:
        candidate: what to register.
        only_forward: do not move an alias that points at a later version.
        bundle: its evidence; the alias is set after it is stored.

    Raises:
        UserError: the folder holds no run record.

    """
    record = RunRecord.load(candidate.folder)
    sha256 = digest(candidate.model_file)
    number, problem = None, ""
    published = publish(candidate.folder)
    if published.run_id is None or not published.complete:
        problem = published.problem or "the run is still running"
    elif main_project.is_temporary():
        problem = _EXPERIMENT
    else:
        run_id = published.run_id
        try:
            number = server.run_watched(
                lambda: _register(candidate, record, run_id, sha256, bundle, only_forward=only_forward)
            )
        except Exception as error:  # noqa: BLE001 -- as in publish(): the registration is pending, sync completes it
            problem = describe(error)
    uri = f"models:/{candidate.name}@{candidate.alias}" if number is None else f"models:/{candidate.name}/{number}"
    return Registration(candidate.name, candidate.alias, number, number is None, record.id, sha256, uri, problem)


def _register(
    candidate: Candidate, record: RunRecord, run_id: str, sha256: str, bundle: Bundle | None, *, only_forward: bool
) -> int:
    with server.session() as client:
        number = _find_version(client, candidate, record.id, sha256)
        if number is None:
            model_id = _find_logged_model(client, candidate, run_id, sha256) or log_model(
                client, candidate, record, run_id
            )
            _log_figures(client, run_id, record, candidate.evidence)
            number = _create_version(client, candidate, record, run_id, model_id, sha256)
        if bundle is not None:
            run, folder = evidence_store.attach(client, candidate.name, number, bundle.folder, bundle.evaluation_sha256)
            client.set_model_version_tag(
                candidate.name, str(number), evidence_store.GATES_TAG, descriptions.verdict(bundle.gates)
            )
            text = f"{descriptions.gates(bundle.gates)}\n{_description(candidate, record)}"
            text = ui_pages.with_card(text, ui_pages.card(client, run, folder))
            client.update_model_version(candidate.name, str(number), description=text)
        if not only_forward or number > (ledger.alias_version(client, candidate.name, candidate.alias) or 0):
            client.set_registered_model_alias(candidate.name, candidate.alias, str(number))
        return number


def _versions_of_model(client: MlflowClient, name: str, record_id: str, sha256: str) -> list[ModelVersion]:
    candidates = client.search_model_versions(f"name = '{name}' and tags.`{SHA_TAG}` = '{sha256}'")
    return [version for version in candidates if version.tags.get(ID_TAG) == record_id]


def find_version(client: MlflowClient, candidate: Candidate) -> int | None:
    """Return the version that a candidate was registered as; None if it was not."""
    record = RunRecord.load(candidate.folder)
    return _find_version(client, candidate, record.id, digest(candidate.model_file))


def _find_version(client: MlflowClient, candidate: Candidate, record_id: str, sha256: str) -> int | None:
    """Return the version of a model; the same model at another operating point is another version."""
    versions = _versions_of_model(client, candidate.name, record_id, sha256)
    return min((int(version.version) for version in versions if _same_decision(version.tags, candidate)), default=None)


def _same_decision(tags: Mapping[str, str], candidate: Candidate) -> bool:
    """Whether a version has the temperature and threshold of the candidate, which are part of its package."""
    return all(tags.get(name) == value for name, value in decision_tags(candidate).items())


def _find_logged_model(client: MlflowClient, candidate: Candidate, run_id: str, sha256: str) -> str | None:
    """Return a complete logged model that an interrupted registration has left; None if there is none."""
    experiment = server.experiment_id(client)
    models = client.search_logged_models([experiment], filter_string=f"tags.`{SHA_TAG}` = '{sha256}'")
    ready = [model for model in models if model.source_run_id == run_id and str(model.status) == "READY"]
    alike = [model for model in ready if _same_decision(model.tags, candidate)]
    return str(alike[0].model_id) if alike else None


def _log_figures(client: MlflowClient, run_id: str, record: RunRecord, figures: Mapping[str, float]) -> None:
    """Log the test metrics with the run too, at the record's own time, so that logging twice changes nothing."""
    from mlflow.entities import Metric

    moment = milliseconds(record.document["finished_at"])
    metrics = [Metric(f"test_{key(name)}", float(value), moment, 0) for name, value in sorted(figures.items())]
    for chunk in chunks(metrics, 1000):
        client.log_batch(run_id, metrics=chunk)


def _create_version(
    client: MlflowClient, candidate: Candidate, record: RunRecord, run_id: str, model_id: str, sha256: str
) -> int:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(candidate.name, description=ui_pages.MODEL_NOTE)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = client.create_model_version(
        candidate.name,
        f"models:/{model_id}",
        run_id=run_id,
        tags=_tags(candidate, record, sha256),
        model_id=model_id,
        description=_description(candidate, record),
    )
    return int(created.version)


def _tags(candidate: Candidate, record: RunRecord, sha256: str) -> dict[str, str]:
    """Return the tags to search versions by; the rest is in `_description`, since MLflow shows a line per tag."""
    lineage = lineage_tags(record.document.get("lineage") or {})
    tags = {name: value for name, value in lineage.items() if name in _SEARCHED}
    tags |= {ID_TAG: record.id, SHA_TAG: sha256} | decision_tags(candidate)
    return tags | {
        f"nsfw.test_{key(name)}": f"{candidate.evidence[name]:.4f}" for name in _FIGURES if name in candidate.evidence
    }


def _description(candidate: Candidate, record: RunRecord) -> str:
    """Return a version's description: classes and input, lineage, and every test figure."""
    lineage = lineage_tags(record.document.get("lineage") or {})
    facts = {
        "classes": ", ".join(candidate.labels),
        "unsafe": ", ".join(candidate.unsafe),
        "input": f"{candidate.size} px, {candidate.rescaling} rescaling",
        **{name.removeprefix("nsfw."): value for name, value in lineage.items()},
    }
    return f"{descriptions.facts(facts)}\n{descriptions.figures(candidate.evidence)}"
