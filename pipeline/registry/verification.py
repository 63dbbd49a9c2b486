"""Checks what may serve: the ledger's production, with complete evidence and the model bytes that were judged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.core.paths import MODEL_FILE
from pipeline.images.limits import Limits
from pipeline.registry import evidence_store, state
from pipeline.registry.evidence_store import Evidence, EvidenceError, EvidenceUnavailableError
from pipeline.registry.package import SHA_TAG, SPEC_FILE
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
class OpenedModel:
    """A version (0 for a folder), its files, and `doubts`: the problems that were overridden explicitly."""

    model: str
    version: int
    folder: Path
    spec: dict[str, Any]
    doubts: tuple[str, ...] = ()

    @property
    def model_file(self) -> Path:
        """The path of the model."""
        return model_file(self.folder, self.spec)

    @property
    def decision(self) -> Decision:
        """Its temperature and threshold; no threshold if it was registered before versions had one.

        Raises:
            KeyError, TypeError, ValueError: its spec lacks them, or they are invalid.

        """
        return Decision.from_document(self.spec.get("decision"), self.spec["labels"], self.spec["unsafe"])

    def limits(self, default: Limits) -> Limits:
        """Return which pictures are accepted, as its spec says; `default` for an older version.

        Raises:
            UserError: the limits in its spec are invalid.

        """
        declared = self.spec.get("limits")
        if declared is None:
            return default
        try:
            return Limits.from_document(declared)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the {SPEC_FILE} of version {self.version} has odd limits ({error!r})") from None

    def classifier(self) -> Classifier:
        """Return the loaded model.

        Raises:
            UserError: its library does not load it safely, or its spec lacks labels, size or decision.

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


def verify(params: Params, *, allow_unverified: bool = False, into: Path | None = None) -> OpenedModel:
    """Return the version that is to serve, fetched and checked.

    `into`: a folder for its files; by default MLflow chooses one, which is not deleted.
    `allow_unverified`: return the version that the alias points at in spite of any doubts, and list them.

    Raises:
        UserError: nothing is in production, or what the alias points at is not what went through the gates.
        Unreachable: the server does not answer.

    """
    with server.session() as client:
        now = state.read(client, params.register_)
        version, doubts = _choose_version(now)
        try:
            evidence = None if doubts else _promoted_evidence(client, now, doubts)
        except EvidenceUnavailableError as lost:
            if not allow_unverified:  # nothing is wrong with the version: its files have to be brought back
                raise UserError(
                    f"version {version} of {now.model} is not served: {lost}. To do: {evidence_store.BRING_BACK}."
                ) from None
            evidence = None
            doubts.append(str(lost))
        _raise_doubts(
            now.model, version, doubts, allow_unverified=allow_unverified
        )  # before any of its files is fetched
        folder, spec = fetch_model(client, now.model, version, into)
    if evidence is not None:
        doubts += _differences(now, evidence, folder, spec)
    _raise_doubts(now.model, version, doubts, allow_unverified=allow_unverified)
    return OpenedModel(now.model, version, folder, spec, tuple(doubts))


def _raise_doubts(model: str, version: int, doubts: list[str], *, allow_unverified: bool) -> None:
    if doubts and not allow_unverified:
        raise UserError(
            f"version {version} of {model} is not served: {'; '.join(doubts)}. "
            f"To serve it all the same, at your own risk: {OVERRIDE}."
        )


def fetch_model(
    client: MlflowClient, model: str, version: int, into: Path | None = None
) -> tuple[Path, dict[str, Any]]:
    """Download a version's artifacts; return their folder and its spec ({} if it has none of ours)."""
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


def open_version(client: MlflowClient, model: str, version: int, sha256: str | None = None) -> OpenedModel:
    """Return a registered version, fetched but not loaded, once its model file has the right digest.

    That is `sha256`, or the one in the version's tags if None. No gate and no evidence is looked at: see `verify`.

    Raises:
        UserError: its files cannot be fetched, it has no spec, or its model file is another.

    """
    folder, spec = fetch_model(client, model, version)
    if sha256 is None:
        sha256 = client.get_model_version(model, str(version)).tags.get(SHA_TAG)
    return check_digest(OpenedModel(model, version, folder, spec), sha256)


def check_digest(opened: OpenedModel, sha256: str | None) -> OpenedModel:
    """Return `opened` if its model file has this digest.

    Raises:
        UserError: it has another, or there is no spec or no model file.

    """
    name = f"version {opened.version} of {opened.model}" if opened.version else opened.model
    if not opened.spec or not opened.model_file.exists() or digest(opened.model_file) != sha256:
        raise UserError(f"{name} is not a model of ours, or its file has changed: it is not loaded.")
    return opened


def model_file(folder: Path, spec: dict[str, Any]) -> Path:
    """Return the path of the model among a version's artifacts.

    Raises:
        UserError: its spec names a file in another folder.

    """
    name = str(spec.get("file", MODEL_FILE))
    if name in {"", ".."} or Path(name).name != name:
        raise UserError(f"{folder / SPEC_FILE} names a model file elsewhere: {name[:80]!r}")
    return folder / name


def _choose_version(now: State) -> tuple[int, list[str]]:
    """Return the version that is to serve, and the doubts about it that need no files."""
    aliased, production = now.aliased, now.production
    if aliased is None and production is None:
        raise UserError(f"nothing of {now.model} is in production. `nsfw promote --reason ...` is the way there.")
    if production is not None and production not in now.versions:
        raise UserError("; ".join(now.findings()))
    ledgers = production is not None and (aliased in {None, production} or now.interrupted)
    version = production if ledgers or aliased is None else aliased
    if version is None:  # excluded above
        raise ValueError("neither alias nor ledger")
    return version, [] if ledgers and not now.ledger.broken else now.findings()[:1]


def _promoted_evidence(client: MlflowClient, now: State, doubts: list[str]) -> Evidence | None:
    """Return the evidence that production was promoted with; None, and a reason in `doubts`, if there is none."""
    last = now.ledger.last
    if last is None or not last.draft.evidence_sha256:
        doubts.append("it was promoted without evidence (--override evidence)")
        return None
    try:
        return evidence_store.fetch(client, now.model, last.draft.version, last.draft.evidence_sha256)
    except EvidenceUnavailableError:
        raise
    except EvidenceError as doubt:
        doubts.append(str(doubt))
        return None


def _differences(now: State, evidence: Evidence, folder: Path, spec: dict[str, Any]) -> list[str]:
    """Return how the files differ from what was judged: another model file, labels, size, adapter or decision."""
    promoted = now.ledger.last.draft.model_sha256 if now.ledger.last else ""
    file = model_file(folder, spec)
    sha256 = digest(file) if file.exists() else "missing"
    doubts = []
    if {evidence.model_sha256, sha256} != {promoted}:
        doubts.append(f"its model file is {sha256[:12]}, but {promoted[:12]} was promoted")
    judged = {"labels": list(evidence.document.labels), "size": evidence.document.size}
    judged |= {"adapter": evidence.facts["adapter"]} if "adapter" in evidence.facts else {}
    if not _has_judged_decision(evidence, spec):
        shown = str(spec.get("decision"))[:200]
        doubts.append(f"its {SPEC_FILE} says decision {shown}, which is not what its evidence found")
    return doubts + [
        f"its {SPEC_FILE} says {name} {str(spec.get(name))[:80]}, but {str(value)[:80]} was judged"
        for name, value in judged.items()
        if spec.get(name) != value
    ]


def _has_judged_decision(evidence: Evidence, spec: dict[str, Any]) -> bool:
    """Whether temperature and threshold are those of the evidence; an older version has neither."""
    declared = spec.get("decision")
    if declared is None:
        return evidence.facts.get("decision") is None
    try:
        judged = Decision.from_evidence(evidence.document.to_json())
        return judged is not None and Decision.from_document(declared).agrees(judged)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
