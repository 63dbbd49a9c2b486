"""Register the fine-tuned model as a version, with its evidence, and set the alias on it.

Reads   build/finetuned/, build/evidence/, metrics/evaluate.json
Writes  build/registered.json (pending where MLflow did not answer: `nsfw sync` completes it)
Run     dvc repro register
"""

import logging
from collections.abc import Mapping
from typing import Any

from pipeline.core import paths
from pipeline.core.backbone_table import BACKBONES, FEATURES_FILE
from pipeline.core.errors import UserError, run
from pipeline.core.files import read_object, write_json
from pipeline.params.root import Params, load_params
from pipeline.promotion.formatting import gate_lines
from pipeline.promotion.registration import register_with_evidence
from pipeline.registry.model_versions import Registration
from pipeline.registry.package import Candidate
from pipeline.serving.networks import Adapter
from pipeline.tracking import store_address
from pipeline.tracking.record_document import flatten
from pipeline.tracking.run_record import RunRecord

EVALUATION = paths.METRICS / "evaluate.json"
_log = logging.getLogger(__name__)


def candidate(params: Params, evaluation: Mapping[str, Any]) -> Candidate:
    """Return the candidate to register: the fine-tuned model and its figures on the test set.

    Raises:
        UserError: the evaluation has no figures of the fine-tuned model.

    """
    joined = params.backbone.name == FEATURES_FILE
    return Candidate(
        folder=paths.FINETUNED,
        name=params.register_.model,
        alias=params.register_.alias,
        labels=params.labels.names,
        unsafe=params.labels.unsafe,
        size=params.backbone.size,
        rescaling=rescaling(params),
        evidence=evidence(evaluation),
        model=paths.ONNX_FILE if joined else paths.MODEL_FILE,
        adapter=Adapter(kind="onnx").to_document() if joined else None,
    )


def evidence(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Return the fine-tuned model's figures under flat names, such as `recall/porn`."""
    figures = evaluation.get("finetuned")
    if not isinstance(figures, Mapping):
        raise UserError(f"{EVALUATION} has no figures of the fine-tuned model. Run `dvc repro evaluate`.")
    numbers = {name.replace(".", "/"): value for name, value in flatten(figures).items()}
    return {name: float(value) for name, value in numbers.items() if type(value) in {int, float}}


def rescaling(params: Params) -> str:
    """Return how the model rescales pixel values 0 to 255: as params.yaml says, or as ImageNet weights expect."""
    return params.backbone.rescaling or BACKBONES[params.backbone.name].input_range


def document(candidate: Candidate, registration: Registration) -> dict[str, Any]:
    """Return build/registered.json; with its `request` a pending registration can be completed from build/ alone."""
    return {
        "model": registration.model,
        "alias": registration.alias,
        "version": registration.version,
        "pending": registration.pending,
        "record_id": registration.record_id,
        "model_sha256": registration.model_sha256,
        "uri": registration.uri,
        "store": store_address.store_name(),
        "request": candidate.to_document(),
    }


def main() -> None:
    """Register build/finetuned."""
    params = load_params()
    request = candidate(params, read_object(EVALUATION, "finetuned"))
    record = RunRecord.load(request.folder)
    if record.status != "FINISHED" or not request.model_file.is_file():
        raise UserError(f"{request.folder} holds no finished run with a model. Run `dvc repro finetune`.")
    registration, table = register_with_evidence(request, paths.EVIDENCE, params)
    version = (
        "waits for MLflow" if registration.pending else f"version {registration.version}, alias {registration.alias}"
    )
    _log.info("register: %s %s; %s", registration.model, version, gate_lines(table)[0])  # `nsfw gates` shows them all
    if registration.pending:
        _log.warning("%s. The registration is pending; `nsfw sync` completes it.", registration.problem)
    write_json(document(request, registration), paths.REGISTERED)


if __name__ == "__main__":
    run(main)
