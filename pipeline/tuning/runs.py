"""The run records of a study's trials, and their runs in MLflow, which get the states of the storage."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from pipeline.params.root import Params
from pipeline.registry.sync import sync
from pipeline.tracking import server
from pipeline.tracking.mlflow_facts import PARENT_TAG
from pipeline.tracking.publish import MLFLOW_PARENT, describe, runs_of
from pipeline.tracking.run_record import RunRecord
from pipeline.tuning.study import PARENT

if TYPE_CHECKING:
    from mlflow import MlflowClient

STUDY_TAG, TRIAL_TAG, STATE_TAG = "nsfw.study", "nsfw.trial", "nsfw.trial_state"
_SECTIONS = {"seed", "labels", "backbone", "augment", "train", "finetune"}
_STATUS: Mapping[TrialState, tuple[str, ...]] = {
    TrialState.COMPLETE: ("FINISHED",),
    TrialState.PRUNED: ("KILLED", "FAILED"),  # failed: it diverged
    TrialState.FAIL: ("KILLED", "FAILED"),
}

_log = logging.getLogger(__name__)


def begin(
    chosen: Params,
    study_name: str,
    name: str,
    parent: str,
    *,
    number: int | None = None,
    values: Mapping[str, Any] | None = None,
    inputs: Sequence[Path] = (),
) -> RunRecord:
    """Start the record of a training under the study's run.

    `number` is the trial's; None for a training that is no trial. `values` are those that the search drew: the params
    of a trial differ from them, because its training is shorter.
    """
    tags = {PARENT_TAG: parent, STUDY_TAG: study_name}
    if number is not None:
        tags[TRIAL_TAG] = str(number)
    params = chosen.model_dump(by_alias=True, include=_SECTIONS) | {"searched": dict(values or {})}
    return RunRecord.start("trial", params=params, inputs=inputs, name=f"{study_name} {name}", tags=tags)


def publish() -> bool:
    """Publish what MLflow lacks, and log problems; return whether there was none."""
    problems = sync().problems
    for problem in problems:
        _log.warning("%s. `nsfw sync` publishes what is missing.", problem)
    return not problems


def reconcile(study: optuna.Study) -> None:
    """Publish every trial, give its run in MLflow the state of the trial in the storage, and nest it under the study's.

    A trial whose run was created before MLflow had the study's, as on a busy machine, is nested under nothing.
    """
    if not publish():
        return
    try:
        server.run_watched(lambda: _tag(study))
    except Exception as error:  # noqa: BLE001 -- MLflow's client raises many kinds; the search is done, and on disk
        _log.warning("%s. `nsfw tune` again completes MLflow's side.", describe(error))


def _tag(study: optuna.Study) -> None:
    with server.session() as client:
        runs = _runs(client, study.study_name)
        above = runs_of(client, server.experiment_id(client), study.user_attrs.get(PARENT, ""))
        for trial in study.get_trials(deepcopy=False):
            run = runs.get(str(trial.number))
            if run is None or trial.state not in _STATUS:
                continue
            if run.data.tags.get(STATE_TAG) != trial.state.name:
                client.set_tag(run.info.run_id, STATE_TAG, trial.state.name)
            if above and MLFLOW_PARENT not in run.data.tags:
                client.set_tag(run.info.run_id, MLFLOW_PARENT, above[0].info.run_id)
            if run.info.status not in _STATUS[trial.state]:
                client.set_terminated(run.info.run_id, status=_STATUS[trial.state][0], end_time=run.info.end_time)


def _runs(client: "MlflowClient", name: str) -> dict[str, Any]:
    """Return the runs of a study's trials by the trial's number."""
    runs: dict[str, Any] = {}
    experiment, token = server.experiment_id(client), None
    while True:
        page = client.search_runs([experiment], f"tags.`{STUDY_TAG}` = '{name}'", max_results=500, page_token=token)
        runs |= {run.data.tags[TRIAL_TAG]: run for run in page if TRIAL_TAG in run.data.tags}
        token = page.token
        if not token:
            return runs
