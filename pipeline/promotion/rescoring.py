"""Asking a registered model about pictures that it was never shown: the gates compare on the same pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.evidence import scoring
from pipeline.params.root import Params
from pipeline.promotion.judging import Rescore
from pipeline.registry import verification
from pipeline.registry.evidence_store import Dossier
from pipeline.registry.package import Candidate
from pipeline.serving.networks import Adapter, load_network
from pipeline.tracking import server
from pipeline.tracking.lineage import digest

_log = logging.getLogger(__name__)


def score_of(candidate: Candidate) -> scoring.Score:
    """Return the function from pictures to probabilities of a model that is about to be registered."""
    adapter = Adapter.from_document(candidate.adapter)
    return load_network(candidate.model_file, adapter, candidate.size, len(candidate.labels))


def rescorer(params: Params) -> Rescore:
    """Return what asks one version about the test pictures of another, if they lie in this project's data."""

    def rescore(asked: Dossier, about: Dossier) -> pd.DataFrame | None:
        test = about.predictions.loc[about.predictions["split"] == "test", "sha256"]
        if not _here(test) or asked.version is None:
            return None
        kept = paths.EVIDENCE_CACHE / f"{asked.model_sha256[:16]}-on-{about.document['test']['digest'][:16]}.parquet"
        if not kept.is_file():
            score, spec = _registered(asked, params)
            _log.warning("asking version %d about %d test pictures that it was not shown", asked.version, len(test))
            answers = scoring.predictions_from_shards(score, int(spec["size"]), ["test"], params)
            tables.write_parquet(answers, kept)
        found = tables.read_parquet(kept)
        return found if set(test) <= set(found["sha256"]) else None

    return rescore


def _here(test: pd.Series) -> bool:
    """Whether this project's test split has all these pictures."""
    if not (paths.SPLITS.is_file() and paths.CATALOG.is_file() and Path(paths.SHARDS).is_dir()):
        return False
    splits = tables.read_parquet(paths.SPLITS, ["sha256", "split"])
    return set(test) <= set(splits.loc[splits["split"] == "test", "sha256"])


def _registered(asked: Dossier, params: Params) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    with server.session() as client:
        folder, spec = verification.fetch_model(client, params.register_.model, int(asked.version or 0))
    file = verification.model_file(folder, spec)
    if not file.exists() or digest(file) != asked.model_sha256:
        raise UserError(f"version {asked.version}: its model file is not the one that its evidence is about.")
    return load_network(file, Adapter.from_document(spec.get("adapter")), int(spec["size"]), len(spec["labels"])), spec
