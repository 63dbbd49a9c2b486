"""The evidence of a registered version: a folder among its run's artifacts, named by its digest in the version's tags.

Evidence that is read back is accepted only if it has the digest in the tags and is about the registered model.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.evidence.document import DOCUMENT, FACTS, PREDICTIONS, Document
from pipeline.evidence.section import check_digest
from pipeline.registry.package import SHA_TAG
from pipeline.tracking import ui_pages
from pipeline.tracking.absent import or_none
from pipeline.tracking.lineage import digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

EVIDENCE_TAG = "nsfw.evidence_sha256"
EVALUATION_TAG = "nsfw.evaluation_sha256"
GATES_TAG = "nsfw.gates"
RUN_TAG = "nsfw.evidence_run"  # the run that holds the evidence, if that is not the version's own
FOLDER = "evidence"  # among the run's artifacts
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What to do about an EvidenceUnavailableError.
BRING_BACK = "bring these files back (from a backup, an unmounted disk, the artifact store), and run this again"


class EvidenceError(Exception):
    """A version's evidence is missing, or is not what was registered; the message says which."""


class EvidenceUnavailableError(EvidenceError):
    """A version's evidence cannot be fetched: its files are lost, or their store does not answer."""


@dataclass(frozen=True)
class Evidence:
    """A version's evidence: evidence.json, facts.json, the predictions on val and test, and the whole's digest."""

    version: int | None
    sha256: str
    model_sha256: str
    document: Document
    facts: Mapping[str, Any]
    predictions: pd.DataFrame


def attach(client: MlflowClient, model: str, version: int, folder: Path, evaluation_sha256: str) -> tuple[str, str]:
    """Log `folder` with the run of a version, and its digest in the version's tags; the same evaluation once.

    Returns the run, and where it lies among the run's artifacts.
    """
    registered = client.get_model_version(model, str(version))
    if registered.tags.get(EVALUATION_TAG) == evaluation_sha256 and EVIDENCE_TAG in registered.tags:
        return run_of(registered), artifact_folder(registered.tags[EVIDENCE_TAG])
    sha256 = digest(folder)
    client.log_artifacts(run_of(registered), str(folder), artifact_folder(sha256))
    client.set_model_version_tag(model, str(version), EVIDENCE_TAG, sha256)
    # This tag comes last: an attachment that was interrupted before it is repeated.
    client.set_model_version_tag(model, str(version), EVALUATION_TAG, evaluation_sha256)
    return run_of(registered), artifact_folder(sha256)


def artifact_folder(sha256: str) -> str:
    """Return the artifact path of the evidence with this digest."""
    return f"{FOLDER}/{sha256[:12]}"


def run_of(version: ModelVersion) -> str:
    """Return the run whose artifacts hold a version's evidence: its own, or another if that is gone; "" for none."""
    return str(version.tags.get(RUN_TAG) or version.run_id or "")


def cached_copy(version: ModelVersion) -> Path | None:
    """Return this machine's copy of a version's evidence; None if it has none, or a changed one."""
    sha256 = version.tags.get(EVIDENCE_TAG, "")
    return _cached_folder(sha256) if _SHA256.fullmatch(sha256) else None


def _cached_folder(sha256: str) -> Path | None:
    folder = paths.EVIDENCE_CACHE / sha256
    return folder if folder.is_dir() and digest(folder) == sha256 else None


def move(client: MlflowClient, version: ModelVersion, folder: Path, run_id: str) -> None:
    """Log a version's evidence with another run; its digest stays the same."""
    target = artifact_folder(version.tags[EVIDENCE_TAG])
    client.log_artifacts(run_id, str(folder), target)
    client.set_model_version_tag(version.name, version.version, RUN_TAG, run_id)
    text = ui_pages.with_card(version.description or "", ui_pages.card(client, run_id, target))
    client.update_model_version(version.name, version.version, description=text)


def fetch(client: MlflowClient, model: str, version: int, sha256: str | None = None) -> Evidence:
    """Return a version's evidence, once its bytes are those that were registered. Kept in `.cache/evidence`.

    `sha256`: an earlier one of its evidences than the latest: what it was promoted with, say.

    Raises:
        EvidenceError: there is none, or it is not what it says.
        EvidenceUnavailableError: there is some, and it cannot be reached.

    """
    registered = _model_version(client, model, version)
    sha256 = sha256 or registered.tags.get(EVIDENCE_TAG)
    if sha256 and not _SHA256.fullmatch(sha256):  # it becomes a path, and anybody may have written it
        raise EvidenceError(f"version {version}: its evidence has no digest, but {sha256[:80]!r}")
    if not sha256 or not run_of(registered):
        raise EvidenceError(
            f"version {version} has no evidence: it was registered past the pipeline. "
            "`dvc repro` registers with evidence, `nsfw import-model` does for a model from elsewhere"
        )
    folder = _download(client, registered, sha256)
    evidence = load(folder, version, sha256)
    if registered.tags.get(SHA_TAG) != evidence.model_sha256:
        raise EvidenceError(f"version {version}: its evidence is about another model ({evidence.model_sha256[:12]})")
    return evidence


def load(folder: Path, version: int | None, sha256: str) -> Evidence:
    """Read a folder of evidence whose digest is known.

    Raises:
        EvidenceError: a part of it is missing or broken.

    """
    try:
        document = Document.read(json.loads((folder / DOCUMENT).read_text(encoding="utf-8")))
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        predictions = pd.read_parquet(folder / PREDICTIONS)
        if document.model_sha256 != facts["model_sha256"]:
            raise EvidenceError(f"version {version}: evidence.json and facts.json are of different models")
        check_digest(facts["model_sha256"])
        _check_columns(predictions, document)
        return Evidence(version, sha256, str(facts["model_sha256"]), document, facts, predictions)
    except UserError as error:
        raise EvidenceError(f"version {version}: its evidence cannot be read ({error})") from None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise EvidenceError(
            f"version {version}: its evidence cannot be read ({type(error).__name__}: {error})"
        ) from None


def _check_columns(predictions: pd.DataFrame, document: Document) -> None:
    """Raise ValueError where a column is missing that gates and comparisons read."""
    columns = {"sha256", "split", "label", *(f"p_{name}" for name in document.labels)}
    lacking = sorted(columns - set(predictions.columns))
    if lacking:
        raise ValueError(f"without {', '.join(lacking)}: another version of this program wrote it, or a hand")


def _model_version(client: MlflowClient, model: str, version: int) -> ModelVersion:
    registered = or_none(lambda: client.get_model_version(model, str(version)))
    if registered is None:
        raise EvidenceError(f"version {version} has been deleted from the registry")
    return registered


def _unavailable_message(client: MlflowClient, version: ModelVersion, error: Exception) -> str:
    try:
        where = f" from {client.get_run(run_of(version)).info.artifact_uri}"
    except Exception:  # noqa: BLE001 -- the run is gone too, and `error` says so
        where = ""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return f"version {version.version}: its evidence cannot be fetched{where} ({reason})"


def _download(client: MlflowClient, version: ModelVersion, sha256: str) -> Path:
    cached = paths.EVIDENCE_CACHE / sha256
    if _cached_folder(sha256):
        return cached
    shutil.rmtree(cached, ignore_errors=True)
    paths.EVIDENCE_CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.EVIDENCE_CACHE) as scratch:
        source, target = artifact_folder(sha256), str(Path(scratch).absolute())
        try:
            fetched = Path(client.download_artifacts(run_of(version), source, target))
        except Exception as error:  # noqa: BLE001 -- the artifact store raises whatever it likes; a dead server raises before
            raise EvidenceUnavailableError(_unavailable_message(client, version, error)) from None
        if not fetched.is_dir() or digest(fetched) != sha256:
            raise EvidenceError(f"version {version.version}: its evidence has been changed since it was registered")
        with suppress(OSError):  # another process was faster
            fetched.rename(cached)
    return cached
