"""Predict with a registered model pictures that it was never shown: the gates compare on the same pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core import paths, tables
from pipeline.evidence import scoring
from pipeline.images.resize import Resize
from pipeline.params.root import Params
from pipeline.promotion.pairing import Rescore
from pipeline.registry import verification
from pipeline.registry.evidence_store import Evidence
from pipeline.registry.package import Candidate
from pipeline.serving.networks import Adapter, load_network
from pipeline.tracking import server

_log = logging.getLogger(__name__)


def score_of(candidate: Candidate) -> scoring.Score:
    """Return a candidate model as a `Score`."""
    adapter = Adapter.from_document(candidate.adapter)
    return load_network(candidate.model_file, adapter, candidate.size, len(candidate.labels))


def rescorer(params: Params) -> Rescore:
    """Return a function that predicts another version's test pictures with one version.

    It returns None if this project's data does not hold the pictures. Predictions are cached in .cache/evidence.
    """

    def rescore(rescored: Evidence, about: Evidence) -> pd.DataFrame | None:
        test = about.predictions.loc[about.predictions["split"] == "test", "sha256"]
        if not _here(test) or rescored.version is None:
            return None
        # Not by its file: the same one may be imported twice, with other labels, rescaling or resize. Nor by evidence
        # alone, which two ways to resize may share on square pictures.
        name = f"{rescored.sha256[:16]}-{rescored.version}-on-{about.document.test.digest[:16]}.parquet"
        cached = paths.EVIDENCE_CACHE / name
        if not cached.is_file():
            score, spec, resize = registered_network(rescored, params)
            _log.warning("asking version %d about %d test pictures that it was not shown", rescored.version, len(test))
            size, names = int(spec["size"]), spec["labels"]
            answers = scoring.predictions_from_shards(score, size, ["test"], params, names, resize)
            tables.write_parquet(answers, cached)
        predictions = tables.read_parquet(cached)
        return predictions if set(test) <= set(predictions["sha256"]) else None

    return rescore


def _here(test: pd.Series) -> bool:
    """Whether this project's test split has all these pictures."""
    if not (paths.SPLITS.is_file() and paths.CATALOG.is_file() and Path(paths.SHARDS).is_dir()):
        return False
    splits = tables.read_parquet(paths.SPLITS, ["sha256", "split"])
    return set(test) <= set(splits.loc[splits["split"] == "test", "sha256"])


def registered_network(rescored: Evidence, params: Params) -> tuple[Callable[[Any], Any], dict[str, Any], Resize]:
    """Return the network of a registered version, its spec, and how it resizes; its evidence is about this file.

    Raises:
        UserError: its files cannot be fetched, or are not what its evidence is about.
        Unreachable: the server does not answer.

    """
    with server.session() as client:
        opened = verification.open_version(
            client, params.register_.model, int(rescored.version or 0), rescored.model_sha256
        )
    spec, adapter = opened.spec, Adapter.from_document(opened.spec.get("adapter"))
    return load_network(opened.model_file, adapter, int(spec["size"]), len(spec["labels"])), spec, adapter.resize
