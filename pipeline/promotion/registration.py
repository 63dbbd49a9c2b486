"""Register a version with its evidence: evaluation, the run's facts, speed, the gate table and the model card.

The evaluation is a stage's output, with the same bytes on every machine. Speed and gates depend on the machine and the
moment: they are written here, to the registry, and never into what DVC caches.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.files import write_json, write_text
from pipeline.evaluation import speed
from pipeline.evidence.document import CARD_PAGE, CARD_TEXT, DOCUMENT, FACTS, Document
from pipeline.images.limits import Limits
from pipeline.params.root import Params
from pipeline.promotion import card_page, judging, model_card, rescoring, slice_history, version_pages
from pipeline.promotion.gate_table import Gate
from pipeline.registry import evidence_store, state
from pipeline.registry.model_versions import Bundle, Registration, find_version, register
from pipeline.registry.package import Candidate
from pipeline.serving.decision import Decision
from pipeline.tracking import server
from pipeline.tracking.lineage import digest
from pipeline.tracking.publish import describe
from pipeline.tracking.run_record import RunRecord
from pipeline.tracking.unreachable import Unreachable

_OF_NOTE = (
    "import.", "seed", "backbone.alpha", "backbone.weights", "train.dropout", "train.l2",
    "finetune.epochs", "finetune.unfreeze", "finetune.schedule.",
)  # fmt: skip
_ROUNDS = 40  # pictures that speed is measured on
_log = logging.getLogger(__name__)


def register_with_evidence(
    candidate: Candidate, evaluation: Path, params: Params, *, only_forward: bool = False
) -> tuple[Registration, Sequence[Gate]]:
    """Register a candidate with the evidence in `evaluation` (evidence.json, predictions.parquet, plots).

    The version carries the evidence's decision (temperature and threshold) and the catalog's limits of a picture.
    Returns the registration, and the gate table against the current production; [] if MLflow does not answer.

    Raises:
        UserError: there is no evidence, it is another model's, or the candidate's folder holds no run record.

    """
    document = Document.read(evaluation / DOCUMENT)
    sha256 = digest(candidate.model_file)
    if document.model_sha256 != sha256:
        raise UserError(
            f"{evaluation / DOCUMENT} is about model {document.model_sha256[:12]}, "
            f"but {candidate.model_file} is {sha256[:12]}. Run `dvc repro evaluate`."
        )
    candidate = replace(candidate, decision=_decision(document, evaluation), limits=limits(params))
    facts = _registered_facts(candidate, evaluation) or _facts(candidate, sha256)
    with _folder(evaluation) as folder:
        write_json(facts, folder / FACTS)
        table, earlier = _judge(folder, params)
        over_versions = slice_history.collect([*earlier, ("this", document)])
        markdown = model_card.render(document, _for_card(facts, table) | {"over_versions": over_versions})
        write_text(markdown, folder / CARD_TEXT)
        write_text(card_page.html(markdown, f"{candidate.name} {sha256[:12]}"), folder / CARD_PAGE)
        bundle = Bundle(folder, digest(evaluation), [gate.to_document() for gate in table])
        done = register(candidate, only_forward=only_forward, bundle=bundle)
    if done.version is not None:
        version_pages.publish(done.version, params, rescoring.rescorer(params))
    return done, table


def built_decision(evaluation: Path) -> dict[str, Any] | None:
    """Return the temperature and threshold that the evidence in a folder gives; None where it gives none.

    Raises:
        UserError: there is no evidence, or it cannot be used.

    """
    return _decision(Document.read(evaluation / DOCUMENT), evaluation)


def _decision(document: Document, evaluation: Path) -> dict[str, Any] | None:
    try:
        decision = Decision.from_evidence(document.to_json())
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{evaluation / DOCUMENT} holds no operating point that can be used ({error!r}). "
            "Run `dvc repro -f evaluate`."
        ) from None
    return None if decision is None else decision.to_document()


def limits(params: Params) -> dict[str, Any]:
    """Return the limits of a picture for a version's spec: serving accepts what the catalog accepts."""
    return asdict(Limits(**params.catalog.limits))


@contextmanager
def _folder(evaluation: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "evidence"
        shutil.copytree(evaluation, folder)
        yield folder


def _registered_facts(candidate: Candidate, evaluation: Path) -> dict[str, Any] | None:
    """Return the facts that a version of this candidate and this evaluation has; None: there is none, or no answer.

    A registration that is repeated would throw its own away, after loading the network to measure its speed.
    """

    def look_up() -> dict[str, Any] | None:
        with server.session() as client:
            number = find_version(client, candidate)
            if number is None:
                return None
            tags = client.get_model_version(candidate.name, str(number)).tags
            if tags.get(evidence_store.EVALUATION_TAG) != digest(evaluation):
                return None
            return dict(evidence_store.fetch(client, candidate.name, number).facts)

    try:
        return server.run_watched(look_up)
    except Exception as error:  # noqa: BLE001 -- MLflow's client raises any exception; the registration reports it
        _log.debug("no facts on a registered version: %s", describe(error))
        return None


def _facts(candidate: Candidate, sha256: str) -> dict[str, Any]:
    """Return the facts on a model beside its predictions: run, lineage, params, size, and its current speed."""
    record = RunRecord.load(candidate.folder)
    lineage = record.document.get("lineage") or {}
    git: Mapping[str, Any] = lineage.get("git") or {}
    return {
        "model": candidate.name,
        "model_sha256": sha256,
        "record_id": record.id,
        "run_status": record.status,
        "kept_start": record.start_is_best,
        "diverged_epoch": record.diverged_epoch,
        "imported": record.kind == "import",
        "adapter": None if candidate.adapter is None else dict(candidate.adapter),
        "decision": candidate.decision,
        "trained_at": record.document.get("finished_at"),
        "git_commit": git.get("commit"),
        "git_problem": git.get("problem"),
        "git_dirty": git.get("dirty"),
        "git_tree": git.get("tree"),
        "untracked": git.get("untracked") or [],
        "data_md5": lineage.get("data_md5"),
        "params": record.document.get("params") or {},
        "inputs": record.document.get("inputs") or [],
        "size_mb": round(_bytes(candidate.model_file) / 1e6, 3),
        "speed": _speed(candidate, lineage.get("hardware") or {}),
    }


def _for_card(facts: Mapping[str, Any], table: Sequence[Gate]) -> dict[str, Any]:
    origin = facts["params"].get("import.file") if facts["imported"] else None
    named = {"commit": facts["git_commit"], "run": facts["record_id"], "imported": origin}
    named |= {name: facts[name] for name in ("model", "data_md5", "trained_at", "speed", "size_mb")}
    named |= {name: facts[name] for name in ("kept_start", "diverged_epoch")}
    # The other params are shown with the run.
    named["params"] = {name: value for name, value in facts["params"].items() if name.startswith(_OF_NOTE)}
    backbone = facts["params"].get("backbone.name")
    return named | {"backbone": backbone, "gates": [gate.to_document() for gate in table]}


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def _speed(candidate: Candidate, hardware: Mapping[str, Any]) -> dict[str, Any]:
    measured = speed.measure(rescoring.score_of(candidate), candidate.size, _ROUNDS)
    gpus = ", ".join(hardware.get("gpus") or []) or "no GPU"
    return {**measured, "hardware": f"{hardware.get('cpu')}, {hardware.get('cores')} cores, {gpus}"}


def _judge(folder: Path, params: Params) -> tuple[list[Gate], list[tuple[str, Document]]]:
    """Return the gate table, and the evidence of the last versions by number; nothing if MLflow does not answer."""
    try:
        challenger = evidence_store.load(folder, None, digest(folder))
        return server.run_watched(lambda: _judge_now(challenger, params))
    except (Unreachable, UserError):
        return [], []
    except Exception as error:  # noqa: BLE001 -- MLflow's client raises any exception; the registration reports it
        describe(error)
        return [], []


def _judge_now(challenger: evidence_store.Evidence, params: Params) -> tuple[list[Gate], list[tuple[str, Document]]]:
    production = None
    with server.session() as client:
        try:
            now = state.read(client, params.register_)
        except UserError:  # nothing is registered yet
            return judging.gate_table(challenger, None, params, production_version=None), []
        production = judging.fetch_evidence(client, now.model, now.production)
        earlier = version_pages.history(client, now, max(now.versions, default=0))
    rescore = rescoring.rescorer(params)
    table = judging.gate_table(challenger, production, params, production_version=now.production, rescore=rescore)
    return table, [each for each in earlier if each[1].model_sha256 != challenger.model_sha256]
