"""Make the fine-tuned model a version of the registered model, with its evidence; the alias points at it.

Reads   build/finetuned/, build/evidence/, metrics/evaluate.json
Writes  build/registered.json (pending where MLflow did not answer: `nsfw sync` completes it)
Run     dvc repro register
"""

import logging
from collections.abc import Mapping
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError, run
from pipeline.core.files import read_object, write_json
from pipeline.params.root import Params, load_params
from pipeline.promotion.formatting import gate_lines
from pipeline.promotion.registration import register_with_evidence
from pipeline.registry.model_versions import Registration
from pipeline.registry.package import Candidate
from pipeline.tracking import server
from pipeline.tracking.run_record import RunRecord, flatten

EVALUATION = paths.METRICS / "evaluate.json"
_log = logging.getLogger(__name__)


def candidate(params: Params, evaluation: Mapping[str, Any]) -> Candidate:
    """Return what is to be registered: the fine-tuned model and its figures on the test set.

    Raises:
        UserError: the evaluation has none of the fine-tuned model.

    """
    return Candidate(
        folder=paths.FINETUNED,
        name=params.register_.model,
        alias=params.register_.alias,
        labels=params.labels.names,
        unsafe=params.labels.unsafe,
        size=params.backbone.size,
        rescaling=rescaling(params),
        evidence=evidence(evaluation),
    )


def evidence(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Return the fine-tuned model's numbers under flat names, `recall/porn`."""
    figures = evaluation.get("finetuned")
    if not isinstance(figures, Mapping):
        raise UserError(f"{EVALUATION} has no figures of the fine-tuned model. Run `dvc repro evaluate`.")
    numbers = {name.replace(".", "/"): value for name, value in flatten(figures).items()}
    return {name: float(value) for name, value in numbers.items() if type(value) in {int, float}}


def rescaling(params: Params) -> str:
    """Return what the model does to pixel values 0 to 255: as said, or as the backbone's ImageNet weights want."""
    return params.backbone.rescaling or "symmetric"  # both backbones' ImageNet weights were trained on [-1, 1]


def document(asked: Candidate, done: Registration) -> dict[str, Any]:
    """Return build/registered.json; with `request` in it a pending registration needs nothing but build/."""
    return {
        "model": done.model,
        "alias": done.alias,
        "version": done.version,
        "pending": done.pending,
        "record_id": done.record_id,
        "model_sha256": done.model_sha256,
        "uri": done.uri,
        "store": server.label(),
        "request": asked.to_document(),
    }


def main() -> None:
    """Register build/finetuned."""
    params = load_params()
    asked = candidate(params, read_object(EVALUATION, "finetuned"))
    record = RunRecord.load(asked.folder)
    if record.status != "FINISHED" or not asked.model_file.is_file():
        raise UserError(f"{asked.folder} holds no finished run with a model. Run `dvc repro finetune`.")
    done, table = register_with_evidence(asked, paths.EVIDENCE, params)
    version = "waits for MLflow" if done.pending else f"version {done.version}, alias {done.alias}"
    _log.info("register: %s %s; %s", done.model, version, gate_lines(table)[0])  # `nsfw gates` shows them all
    if done.pending:
        _log.warning("%s. The registration is pending; `nsfw sync` completes it.", done.problem)
    write_json(document(asked, done), paths.REGISTERED)


if __name__ == "__main__":
    run(main)
