"""Writes the labels of a new project into params.yaml."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core import paths, yaml_document
from pipeline.core.errors import UserError
from pipeline.params import editing
from pipeline.params.root import parse_params

_BACKBONES = {
    "the article's": "{name: inception_v3, alpha: 1.0, weights: imagenet, size: 299, rescaling: null}",
    "small and fast": "{name: mobilenet_v2, alpha: 1.0, weights: imagenet, size: 224, rescaling: null}",
    "newer; docs/training.md lists them all": "{name: efficientnet_v2_b0, alpha: 1.0, weights: imagenet, size: 224, "
    "rescaling: null}",
}


@dataclass(frozen=True)
class LabelsChange:
    """The labels that were written; `diff` of params.yaml is empty if it had these labels already."""

    labels: tuple[str, ...]
    unsafe: tuple[str, ...]
    diff: str

    def lines(self) -> list[str]:
        """Return the change for a terminal, with the next commands."""
        names = ",".join(self.labels)
        head = self.diff.splitlines() or [f"{paths.PARAMS} holds these labels already"]
        return [
            *head,
            "",
            "for photographs (the sample's backbone is a small one, of 96 px), in params.yaml:",
            *(f"  backbone: {section}   # {name}" for name, section in _BACKBONES.items()),
            "  weights of your own: `nsfw import-weights model.json OUT.weights.h5` prints the section",
            "  `finetune` can stay as it is: measured on photographs, docs/training.md. Later: `nsfw tune`",
            "  audit: {judge: fine_tuning, ...} finds more wrong labels of photographs, in more time: docs/audit.md",
            "",
            f"next: nsfw ingest folder DIR --source NAME --fresh      DIR/<label>/**, of {names}",
            f"      git add {paths.PARAMS} data.dvc && git commit     before training, so that it can be rebuilt",
            "      dvc repro && nsfw summary",
        ]


def write_labels(labels: Sequence[str], unsafe: Sequence[str]) -> LabelsChange:
    """Write the labels into params.yaml, whose comments stay; nothing is written if they are invalid.

    Raises:
        UserError: a label is no valid name or appears twice, or `unsafe` is none or all of them.

    """
    changed = {"labels.names": list(labels), "labels.unsafe": list(unsafe)}
    before = yaml_document.read(paths.PARAMS, remedy="Run this in the project's root.")
    if not isinstance(before, dict) or not isinstance(before.get("labels"), dict):
        raise UserError(f"{paths.PARAMS} has no section `labels`. `git checkout {paths.PARAMS}` brings it back.")
    parse_params(before | {"labels": {"names": list(labels), "unsafe": list(unsafe)}}, str(paths.PARAMS))
    return LabelsChange(tuple(labels), tuple(unsafe), editing.write(changed))
