"""What may serve: production as the ledger has it, its evidence whole, its bytes the ones that were judged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.promotion import state
from pipeline.promotion.state import State
from pipeline.tracking import evidence, server
from pipeline.tracking.evidence import DoubtfulError
from pipeline.tracking.lineage import digest
from pipeline.tracking.package import SPEC_FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.params import Params
    from pipeline.serving.classifier import Classifier

OVERRIDE = "--allow-unverified"


@dataclass(frozen=True)
class Verified:
    """The version that serves, its files, and `doubts`: what was passed over by explicit override."""

    model: str
    version: int
    folder: Path
    spec: dict[str, Any]
    doubts: tuple[str, ...] = ()

    @property
    def model_file(self) -> Path:
        """The model."""
        return model_file(self.folder, self.spec)

    def classifier(self) -> Classifier:
        """Return the loaded model."""
        from pipeline.serving.classifier import Classifier
        from pipeline.serving.networks import Adapter

        adapter = Adapter.from_document(self.spec.get("adapter"))
        return Classifier(self.model_file, self.spec["labels"], self.spec["size"], adapter)


def verify(params: Params, *, allow_unverified: bool = False) -> Verified:
    """Return what is to serve, fetched and checked.

    `allow_unverified`: serve what the alias points at in spite of any doubt, and name the doubts.

    Raises:
        UserError: nothing is in production, or what the alias points at is not what went through the gates.
        Unreachable: the server does not answer.

    """
    with server.session() as client:
        now = state.read(client, params.register_)
        version, doubts = _chosen(now)
        folder, spec = fetch_model(client, now.model, version)
        if not doubts:
            doubts = _doubts(client, now, version, folder, spec)
    if doubts and not allow_unverified:
        raise UserError(
            f"version {version} of {now.model} is not served: {'; '.join(doubts)}. "
            f"To serve it all the same, at your own risk: {OVERRIDE}."
        )
    return Verified(now.model, version, folder, spec, tuple(doubts))


def fetch_model(client: MlflowClient, model: str, version: int) -> tuple[Path, dict[str, Any]]:
    """Return a version's downloaded artifacts, unloaded, and its spec ({} where it has none of ours)."""
    import mlflow

    source = client.get_model_version(model, str(version)).source
    uri = source if str(source).startswith("models:/m-") else f"models:/{model}/{version}"
    folder = Path(mlflow.artifacts.download_artifacts(uri)) / "artifacts"
    spec = folder / SPEC_FILE
    return folder, json.loads(spec.read_text(encoding="utf-8")) if spec.is_file() else {}


def model_file(folder: Path, spec: dict[str, Any]) -> Path:
    """Return where the model lies among a version's artifacts."""
    return folder / str(spec.get("file", "model.keras"))


def _chosen(now: State) -> tuple[int, list[str]]:
    if now.aliased is None and now.production is None:
        raise UserError(f"nothing of {now.model} is in production. `nsfw promote --reason ...` is the way there.")
    if now.production is None or (now.aliased is not None and now.aliased != now.production and not now.interrupted):
        if now.aliased is None:
            raise UserError(f"nothing of {now.model} is in production.")
        return now.aliased, [now.findings()[0]]
    return now.production, []


def _doubts(client: MlflowClient, now: State, version: int, folder: Path, spec: dict[str, Any]) -> list[str]:
    last = now.ledger.last
    if last is None or not last.draft.evidence_sha256:
        return [f"version {version} was promoted without evidence (--override evidence)"]
    try:
        dossier = evidence.fetch(client, now.model, version, last.draft.evidence_sha256)
    except DoubtfulError as doubt:
        return [str(doubt)]
    file = model_file(folder, spec)
    found = digest(file) if file.exists() else "missing"
    if {dossier.model_sha256, found} != {last.draft.model_sha256}:
        return [f"its model file is {found[:12]}, but {last.draft.model_sha256[:12]} was promoted"]
    return []
