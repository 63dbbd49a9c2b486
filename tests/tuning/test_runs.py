"""A study's runs in MLflow."""

import shutil
from pathlib import Path

import optuna
import pytest

from pipeline.core import paths
from pipeline.params.root import load_params
from pipeline.tracking.run_record import RunRecord
from pipeline.tuning import runs, study
from tests.support.mlflow_store import client, project, store, template

__all__ = ["client", "project", "store", "template"]  # fixtures
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("published_first", ["the study", "its trial"])
def test_a_trial_is_nested_under_its_study_whichever_mlflow_sees_first(client, tmp_path, published_first):
    shutil.copyfile(ROOT / "params.yaml", paths.PARAMS)
    optuna_study = optuna.create_study(study_name="nsfw", direction="maximize")
    with RunRecord.start("tune", params={}, inputs=[], name="study nsfw") as parent:
        optuna_study.set_user_attr(study.PARENT, parent.id)
    if published_first == "its trial":
        shutil.move(paths.RUNS / parent.id, tmp_path / parent.id)
    optuna_trial = optuna_study.ask()
    with runs.begin(load_params(), "nsfw", "0000", parent.id, number=optuna_trial.number):
        optuna_study.tell(optuna_trial, 0.5)
    assert runs.publish()
    if published_first == "its trial":
        shutil.move(tmp_path / parent.id, paths.RUNS / parent.id)
    runs.reconcile(optuna_study)
    experiment = client.get_experiment_by_name("nsfw").experiment_id
    by_kind = {run.data.tags["nsfw.kind"]: run for run in client.search_runs([experiment])}
    assert by_kind["trial"].data.tags["mlflow.parentRunId"] == by_kind["tune"].info.run_id
    assert by_kind["trial"].data.tags["nsfw.trial_state"] == "COMPLETE"
