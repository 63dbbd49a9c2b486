"""The evidence of a registered version: a folder among its run's artifacts, named by its digest in the version's tags.

What is read back is believed only if its digest is the one in the tags, and if it is about the registered model.
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

from pipeline import paths
from pipeline.tracking.lineage import digest
from pipeline.tracking.package import SHA_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

EVIDENCE_TAG = "nsfw.evidence_sha256"
EVALUATION_TAG = "nsfw.evaluation_sha256"
GATES_TAG = "nsfw.gates"
DOCUMENT, FACTS, PREDICTIONS = "evidence.json", "facts.json", "predictions.parquet"
FOLDER = "evidence"  # among the run's artifacts
_PARTS = {"unsafe", "size", "test", "summary", "calibration", "robustness", "slices", "reports", "leaks"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DoubtfulError(Exception):
    """A version's evidence is not there, or is not what was registered; the message says which."""


@dataclass(frozen=True)
class Dossier:
    """A version's evidence: evidence.json, facts.json, the predictions on val and test, and the whole's digest."""

    version: int | None
    sha256: str
    model_sha256: str
    document: Mapping[str, Any]
    facts: Mapping[str, Any]
    predictions: pd.DataFrame


def attach(client: MlflowClient, model: str, version: int, folder: Path, evaluation_sha256: str) -> str:
    """Log `folder` with the run of a version, and its digest in the version's tags; the same evaluation once.

    Returns where it lies among the run's artifacts.
    """
    found = client.get_model_version(model, str(version))
    if found.tags.get(EVALUATION_TAG) == evaluation_sha256 and EVIDENCE_TAG in found.tags:
        return f"{FOLDER}/{found.tags[EVIDENCE_TAG][:12]}"
    sha256 = digest(folder)
    place = f"{FOLDER}/{sha256[:12]}"
    client.log_artifacts(found.run_id, str(folder), place)
    client.set_model_version_tag(model, str(version), EVIDENCE_TAG, sha256)
    # Last: with it all is there. A later evaluation that is cut short before is attached again.
    client.set_model_version_tag(model, str(version), EVALUATION_TAG, evaluation_sha256)
    return place


def fetch(client: MlflowClient, model: str, version: int, sha256: str | None = None) -> Dossier:
    """Return a version's evidence, once its bytes are those that were registered. Kept in `.cache/evidence`.

    `sha256`: an earlier one of its evidences than the latest: what it was promoted with, say.

    Raises:
        DoubtfulError: there is none, or it is not what it says.

    """
    found = _found(client, model, version)
    sha256 = sha256 or found.tags.get(EVIDENCE_TAG)
    if sha256 and not _SHA256.fullmatch(sha256):  # it becomes a path, and anybody may have written it
        raise DoubtfulError(f"version {version}: its evidence has no digest, but {sha256[:80]!r}")
    if not sha256 or not found.run_id:
        raise DoubtfulError(
            f"version {version} has no evidence: it was registered past the pipeline. "
            "`dvc repro` registers with evidence, `nsfw import-model` does for a model from elsewhere"
        )
    folder = _downloaded(client, found, sha256)
    dossier = load(folder, version, sha256)
    if found.tags.get(SHA_TAG) != dossier.model_sha256:
        raise DoubtfulError(f"version {version}: its evidence is about another model ({dossier.model_sha256[:12]})")
    return dossier


def load(folder: Path, version: int | None, sha256: str) -> Dossier:
    """Read a folder of evidence whose digest is known.

    Raises:
        DoubtfulError: a part of it is missing or broken.

    """
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        predictions = pd.read_parquet(folder / PREDICTIONS)
        if document["model_sha256"] != facts["model_sha256"]:
            raise DoubtfulError(f"version {version}: evidence.json and facts.json are of different models")
        _check(document, facts, predictions)
        return Dossier(version, sha256, str(facts["model_sha256"]), document, facts, predictions)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise DoubtfulError(
            f"version {version}: its evidence cannot be read ({type(error).__name__}: {error})"
        ) from None


def _check(document: Mapping[str, Any], facts: Mapping[str, Any], predictions: pd.DataFrame) -> None:
    """Raise ValueError where a part is missing that gates and comparisons ask for."""
    answers = {"sha256", "split", "label", *(f"p_{name}" for name in document["labels"])}
    lacking = sorted((_PARTS - document.keys()) | (answers - set(predictions.columns)))
    if lacking:
        raise ValueError(f"without {', '.join(lacking)}: another version of this program wrote it, or a hand")
    for digest_of in (facts["model_sha256"], document["test"]["digest"]):
        if not _SHA256.fullmatch(digest_of):
            raise ValueError(f"no digest: {digest_of[:80]!r}")


def _found(client: MlflowClient, model: str, version: int) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(model, str(version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise DoubtfulError(f"version {version} has been deleted from the registry") from None


def _downloaded(client: MlflowClient, version: ModelVersion, sha256: str) -> Path:
    kept = paths.EVIDENCE_CACHE / sha256
    if kept.is_dir() and digest(kept) == sha256:
        return kept
    shutil.rmtree(kept, ignore_errors=True)
    paths.EVIDENCE_CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.EVIDENCE_CACHE) as scratch:
        place = f"{FOLDER}/{sha256[:12]}"
        try:
            fetched = Path(client.download_artifacts(version.run_id, place, str(Path(scratch).absolute())))
        except Exception as error:  # noqa: BLE001 -- the artifact store raises whatever it likes; a dead server raises before
            raise DoubtfulError(f"version {version.version}: its evidence cannot be fetched ({error})") from None
        if not fetched.is_dir() or digest(fetched) != sha256:
            raise DoubtfulError(f"version {version.version}: its evidence has been changed since it was registered")
        with suppress(OSError):  # another process was faster
            fetched.rename(kept)
    return kept
