"""What is published beside a version's evidence: the error browser, and the slices over the versions, plot and metrics.

They lie in `pages/version-<n>` among the artifacts of the version's run, outside of the evidence and its digest: they
compare with versions of that moment, and the pictures in them can be taken down.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.core import executor, files, paths, tables
from pipeline.core.errors import UserError
from pipeline.data import annotation_files
from pipeline.data.shards import Member, members_of
from pipeline.evaluation import plots, slice_plots, slices
from pipeline.evidence.document import Document
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from pipeline.promotion import changed_sides, error_browser, judging, slice_history
from pipeline.promotion.pairing import IncomparableError, PairedAnswers, Rescore, pair_answers
from pipeline.registry import evidence_store, state
from pipeline.registry.evidence_store import Evidence
from pipeline.tracking import server, ui_pages
from pipeline.tracking.mlflow_facts import chunks, key
from pipeline.tracking.publish import describe

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.params.root import Params
    from pipeline.registry.state import State

ERRORS, PLOT = "errors.html", "slices_over_versions.png"
LOCAL = paths.REPORTS_DIR / ERRORS

_log = logging.getLogger(__name__)


def artifact_folder(version: int) -> str:
    """Return where a version's pages lie among the artifacts of its run."""
    return f"pages/version-{version}"


def publish(version: int, params: Params, rescore: Rescore | None = None) -> None:
    """Write a registered version's pages to MLflow, and the error browser to reports/, too.

    The registration is done and stays valid: where a page cannot be made, a warning tells why.
    """
    try:
        server.run_watched(lambda: _publish(version, params, rescore))
    except Exception as error:  # noqa: BLE001 -- MLflow's client raises any exception
        _log.warning("version %d has no error browser: %s", version, describe(error))


def _publish(version: int, params: Params, rescore: Rescore | None) -> None:
    with server.session() as client:
        now = state.read(client, params.register_)
        evidence = evidence_store.fetch(client, now.model, version)
        rival = now.production if now.production != version else None
        production = judging.fetch_evidence(client, now.model, rival)
        documents = history(client, now, version)
        run = evidence_store.run_of(client.get_model_version(now.model, str(version)))
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            html = error_browser.page(_about(evidence, production, now.model, rescore), thumbnailer(params))
            files.write_text(html, folder / ERRORS)
            files.write_text(html, LOCAL)
            rows = slice_history.collect(documents)
            if rows:
                plots.save(slice_plots.over_versions_figure(rows, title="by slice, over versions"), folder / PLOT)
            client.log_artifacts(run, str(folder), artifact_folder(version))
            _log_metrics(client, run, rows)
        _link(client, now.model, version, run)


def history(client: MlflowClient, now: State, upto: int) -> list[tuple[str, Document]]:
    """Return the evidence of the last versions up to one, oldest first; versions without evidence are left out."""
    earlier = [number for number in now.versions if number <= upto][-slice_history.MOST_VERSIONS :]
    fetched = [(str(number), judging.fetch_evidence(client, now.model, number)) for number in earlier]
    return [(number, evidence.document) for number, evidence in fetched if isinstance(evidence, Evidence)]


def _log_metrics(client: MlflowClient, run: str, rows: Sequence[dict[str, Any]]) -> None:
    from mlflow.entities import Metric

    # The version is the step, so that a chart of the run shows them all; a fixed time, so that again changes nothing.
    metrics = [Metric(key(name), value, 0, step) for name, value, step in slice_history.metrics(rows)]
    for chunk in chunks(metrics, 1000):
        client.log_batch(run, metrics=chunk)


def _link(client: MlflowClient, model: str, version: int, run: str) -> None:
    registered = client.get_model_version(model, str(version))
    line = ui_pages.card(client, run, evidence_store.artifact_folder(registered.tags[evidence_store.EVIDENCE_TAG]))
    text = ui_pages.with_errors(line, client, run, f"{artifact_folder(version)}/{ERRORS}")
    client.update_model_version(model, str(version), description=ui_pages.with_card(registered.description or "", text))


def _about(evidence: Evidence, production: object, model: str, rescore: Rescore | None) -> error_browser.About:
    moved = pd.DataFrame(columns=list(changed_sides.MOVED_COLUMNS))
    against = ""
    if isinstance(production, Evidence):
        try:
            paired: PairedAnswers = pair_answers(production, evidence, rescore)
            moved, against = changed_sides.moved_pictures(paired), f"version {production.version} in production"
        except IncomparableError:
            _log.info("the error browser compares with nothing: production was not shown these pictures")
    cases = [row.to_json() | {"answer": row.answer, "slice": row.slice} for row in evidence.document.reports.wrong]
    title = f"{model}, version {evidence.version}"
    return error_browser.About(
        title, evidence.document, evidence.predictions, _memberships(evidence), moved, against, cases[:50]
    )


def _memberships(evidence: Evidence) -> pd.DataFrame:
    """Return the slices of the pictures as this project's tables have them; none without those tables."""
    nothing = pd.DataFrame(columns=["sha256", "family", "slice"], dtype="str")
    if not (paths.CATALOG.is_file() and paths.SLICES.is_file()):
        return nothing
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "sources", "width", "height", "format"])
    known = catalog[catalog["sha256"].isin(evidence.predictions["sha256"])]
    return slices.memberships(known, annotation_files.slices(paths.SLICES)) if len(known) else nothing


def thumbnailer(params: Params) -> error_browser.Thumbnails:
    """Return what makes thumbnails of pictures that are in data/ here."""
    from pipeline.images import previews

    def thumbnails(contents: Sequence[str]) -> dict[str, bytes]:
        if not (paths.CATALOG.is_file() and paths.SHARDS.is_dir()):
            return {}
        catalog = tables.read_parquet(paths.CATALOG, Member._fields)
        members = members_of(catalog[catalog["sha256"].isin(list(contents))])
        cost = sandbox.WorkerLimits(params.catalog.seconds, params.catalog.memory_mb, executor.cores())
        try:
            made = previews.previews(members, paths.SHARDS, Limits(**params.catalog.limits), cost)
        except UserError:  # a shard is missing or damaged: the page is of use without pictures
            return {}
        pairs = zip(members, made, strict=True)
        return {member.sha256: content for member, content in pairs if content is not None}

    return thumbnails


def fetch(model: str, version: int) -> Path | None:
    """Return a copy of a version's error browser below .cache/; None where there is none, or no answer."""

    def download() -> Path:
        paths.CACHE.mkdir(exist_ok=True)
        with server.session() as client:
            run = evidence_store.run_of(client.get_model_version(model, str(version)))
            return Path(
                client.download_artifacts(run, f"{artifact_folder(version)}/{ERRORS}", str(paths.CACHE.absolute()))
            )

    try:
        return server.run_watched(download)
    except Exception:  # noqa: BLE001 -- MLflow's client raises any exception: the other reports are listed without it
        return None
