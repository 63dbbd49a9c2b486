"""What may serve: production as the ledger has it, its evidence whole, its bytes the ones that were judged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.core.paths import MODEL_FILE
from pipeline.images.limits import Limits
from pipeline.registry import evidence_store, state
from pipeline.registry.evidence_store import Dossier, DoubtfulError, UnfetchedError
from pipeline.registry.package import SPEC_FILE
from pipeline.registry.state import State
from pipeline.serving.decision import Decision
from pipeline.tracking import server
from pipeline.tracking.lineage import digest
from pipeline.tracking.publish import describe

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.params.root import Params
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

    @property
    def decision(self) -> Decision:
        """How its answers are read: without a threshold where it was registered before versions carried one.

        Raises:
            KeyError, TypeError, ValueError: its spec does not tell, or tells what is impossible.

        """
        return Decision.from_document(self.spec.get("decision"), self.spec["labels"], self.spec["unsafe"])

    def limits(self, default: Limits) -> Limits:
        """Return what a picture may be: as its spec says, or, of an older version, `default`.

        Raises:
            UserError: its spec says something else.

        """
        said = self.spec.get("limits")
        if said is None:
            return default
        try:
            return Limits.from_document(said)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the {SPEC_FILE} of version {self.version} has odd limits ({error!r})") from None

    def classifier(self) -> Classifier:
        """Return the loaded model.

        Raises:
            UserError: its library does not load it safely, or it does not tell what it takes and gives.

        """
        from pipeline.serving.classifier import Classifier
        from pipeline.serving.networks import Adapter

        try:
            labels, size = [str(label) for label in self.spec["labels"]], int(self.spec["size"])
            adapter = Adapter.from_document(self.spec.get("adapter"))
            decision = self.decision
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"version {self.version} of {self.model} cannot be served: its {SPEC_FILE} is missing, or does not say "
                f"what it takes and gives ({error}). `nsfw import-model` registers a model from elsewhere."
            ) from error
        return Classifier(self.model_file, labels, size, adapter, decision)


def verify(params: Params, *, allow_unverified: bool = False, into: Path | None = None) -> Verified:
    """Return what is to serve, fetched and checked.

    `into`: a folder for its files; MLflow chooses one otherwise, which stays.
    `allow_unverified`: serve what the alias points at in spite of any doubt, and name the doubts.

    Raises:
        UserError: nothing is in production, or what the alias points at is not what went through the gates.
        Unreachable: the server does not answer.

    """
    with server.session() as client:
        now = state.read(client, params.register_)
        version, doubts = _chosen(now)
        try:
            dossier = None if doubts else _dossier(client, now, doubts)
        except UnfetchedError as lost:
            if not allow_unverified:  # nothing speaks against it: what is to be done is to bring the files back
                raise UserError(
                    f"version {version} of {now.model} is not served: {lost}. To do: {evidence_store.BRING_BACK}."
                ) from None
            dossier = None
            doubts.append(str(lost))
        _refuse(now.model, version, doubts, allow_unverified=allow_unverified)  # before anything of it is fetched
        folder, spec = fetch_model(client, now.model, version, into)
    if dossier is not None:
        doubts += _differences(now, dossier, folder, spec)
    _refuse(now.model, version, doubts, allow_unverified=allow_unverified)
    return Verified(now.model, version, folder, spec, tuple(doubts))


def _refuse(model: str, version: int, doubts: list[str], *, allow_unverified: bool) -> None:
    if doubts and not allow_unverified:
        raise UserError(
            f"version {version} of {model} is not served: {'; '.join(doubts)}. "
            f"To serve it all the same, at your own risk: {OVERRIDE}."
        )


def fetch_model(
    client: MlflowClient, model: str, version: int, into: Path | None = None
) -> tuple[Path, dict[str, Any]]:
    """Return a version's downloaded artifacts, unloaded, and its spec ({} where it has none of ours)."""
    import mlflow

    source = client.get_model_version(model, str(version)).source
    uri = source if str(source).startswith("models:/m-") else f"models:/{model}/{version}"
    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=into and str(into))) / "artifacts"
        spec = folder / SPEC_FILE
        document = json.loads(spec.read_text(encoding="utf-8")) if spec.is_file() else {}
    except Exception as error:  # the artifact store raises whatever it likes
        raise UserError(f"the files of version {version} of {model} cannot be fetched ({describe(error)})") from error
    return folder, document if isinstance(document, dict) else {}


def model_file(folder: Path, spec: dict[str, Any]) -> Path:
    """Return where the model lies among a version's artifacts.

    Raises:
        UserError: its spec names a file elsewhere.

    """
    name = str(spec.get("file", MODEL_FILE))
    if name in {"", ".."} or Path(name).name != name:
        raise UserError(f"{folder / SPEC_FILE} names a model file elsewhere: {name[:80]!r}")
    return folder / name


def _chosen(now: State) -> tuple[int, list[str]]:
    """Return which version is to serve, and what speaks against it before anything is looked at."""
    aliased, production = now.aliased, now.production
    if aliased is None and production is None:
        raise UserError(f"nothing of {now.model} is in production. `nsfw promote --reason ...` is the way there.")
    if production is not None and production not in now.versions:
        raise UserError("; ".join(now.findings()))
    ledgers = production is not None and (aliased in {None, production} or now.interrupted)
    version = production if ledgers or aliased is None else aliased
    if version is None:  # the first line has seen to that
        raise ValueError("neither alias nor ledger")
    return version, [] if ledgers and not now.ledger.broken else now.findings()[:1]


def _dossier(client: MlflowClient, now: State, doubts: list[str]) -> Dossier | None:
    """Return the evidence that production was promoted with, or add to the doubts why there is none."""
    last = now.ledger.last
    if last is None or not last.draft.evidence_sha256:
        doubts.append("it was promoted without evidence (--override evidence)")
        return None
    try:
        return evidence_store.fetch(client, now.model, last.draft.version, last.draft.evidence_sha256)
    except UnfetchedError:
        raise
    except DoubtfulError as doubt:
        doubts.append(str(doubt))
        return None


def _differences(now: State, dossier: Dossier, folder: Path, spec: dict[str, Any]) -> list[str]:
    """Return where the files are not what was judged: another model, or another reading of its answers."""
    promoted = now.ledger.last.draft.model_sha256 if now.ledger.last else ""
    file = model_file(folder, spec)
    found = digest(file) if file.exists() else "missing"
    doubts = []
    if {dossier.model_sha256, found} != {promoted}:
        doubts.append(f"its model file is {found[:12]}, but {promoted[:12]} was promoted")
    judged = {"labels": dossier.document["labels"], "size": dossier.document["size"]}
    judged |= {"adapter": dossier.facts["adapter"]} if "adapter" in dossier.facts else {}
    if not _decides_as_judged(dossier, spec):
        shown = str(spec.get("decision"))[:200]
        doubts.append(f"its {SPEC_FILE} says decision {shown}, which is not what its evidence found")
    return doubts + [
        f"its {SPEC_FILE} says {name} {str(spec.get(name))[:80]}, but {str(value)[:80]} was judged"
        for name, value in judged.items()
        if spec.get(name) != value
    ]


def _decides_as_judged(dossier: Dossier, spec: dict[str, Any]) -> bool:
    """Whether temperature and threshold are the evidence's; a version of before they were carried has none."""
    said = spec.get("decision")
    if said is None:
        return dossier.facts.get("decision") is None
    try:
        judged = Decision.from_evidence(dossier.document)
        return judged is not None and Decision.from_document(said).agrees(judged)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
