"""Descriptions and columns on MLflow's pages of the project, and the addresses of those pages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.tracking.absent import or_none

if TYPE_CHECKING:
    from mlflow import MlflowClient

_VIEW = "nsfw"  # a shared view of the runs table; a user may change it and save the change
_COLUMNS = ("test_macro_recall", "test_unsafe/recall", "best_val_macro_recall", "best_val_unsafe_recall")
_NOTE = """\
Trainings of the picture classifier, a run each: **train** (the head on the frozen backbone), **finetune** (what is \
registered), and under **tune** a search's trials.

- `test_macro_recall`, `test_unsafe/recall`: on the test set, once registered. `best_val_...`: on validation, of the \
epoch that was taken.
- *Artifacts*: confusion matrix, curves, the model, and in `evidence/` the model card.
- Tags `nsfw.git_commit` and `nsfw.data_md5` say what it was made from; `nsfw trace VERSION` how to make it again.
"""
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # MLflow's pages for training, not those for agents
    "mlflow.note.content": _NOTE,
    f"mlflow.sharedViewState.{_VIEW}": json.dumps({"selectedColumns": [f"metrics.`{name}`" for name in _COLUMNS]}),
}
MODEL_NOTE = """\
What moderates pictures. The alias `challenger` is on the last model that `dvc repro` registered; `production` is \
moved by `nsfw promote` and `nsfw rollback` alone (`nsfw history` says when, by whom and why).

A version's description holds its gates and its figures on the test set, its source run the model card and the evidence.
"""


def complete(client: MlflowClient, experiment: str, model: str) -> None:
    """Add missing descriptions to an experiment and a registered model; existing ones are not changed."""
    tags = client.get_experiment(experiment).tags
    for key, value in EXPERIMENT_TAGS.items():
        if key not in tags:
            client.set_experiment_tag(experiment, key, value)
    registered = or_none(lambda: client.get_registered_model(model))
    if registered is not None and not registered.description:
        client.update_registered_model(model, MODEL_NOTE)


def runs(base: str, experiment: str) -> str:
    """Return the address of the runs table, with the columns that matter, on the server at `base`.

    MLflow's default page is the one for agents, which is empty here.
    """
    return f"{base.rstrip('/')}/#/experiments/{experiment}/runs?viewStateShareKey={_VIEW}&workflowType=machine_learning"


_CARD = "[Model card]("  # how the line begins


def card(client: MlflowClient, run_id: str, folder: str) -> str:
    """Return the line of a version's description that links to its model card, in `folder` of a run's artifacts."""
    experiment = client.get_run(run_id).info.experiment_id
    run = f"#/experiments/{experiment}/runs/{run_id}"
    return f"{_CARD}{run}/artifacts/{folder}/model_card.html) and evidence: `{folder}` among the artifacts of its run."


def with_errors(line: str, client: MlflowClient, run_id: str, artifact: str) -> str:
    """Return the line of `card` with a link to the error browser among the run's artifacts."""
    experiment = client.get_run(run_id).info.experiment_id
    return f"{line} [Errors](#/experiments/{experiment}/runs/{run_id}/artifacts/{artifact}), picture by picture."


def with_card(description: str, line: str) -> str:
    """Return a version's description with this line first, replacing an earlier such line."""
    first, _, rest = description.partition("\n")
    return f"{line}\n{rest}" if first.startswith(_CARD) else f"{line}\n\n{description}"
