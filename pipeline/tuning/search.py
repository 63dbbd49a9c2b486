"""A search: the study, its workers on this machine, its run in MLflow and that run's artifacts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import optuna

from pipeline.core import files, paths
from pipeline.core.errors import UserError
from pipeline.params.root import Params
from pipeline.tracking.live_publisher import tracked_run
from pipeline.tracking.run_record import RunRecord
from pipeline.training.interrupt import requests_to_stop
from pipeline.tuning import plots, rung_plot, rungs, runs, slots, space, storage, study, worker_processes

_log = logging.getLogger(__name__)


def search(params: Params, *, workers: int, joining: bool = False) -> optuna.Study:
    """Run trials until every rung of the study has its finished ones, with `workers` processes on this machine.

    Other machines may take part. A study that has its trials already stays unchanged. `joining`: another machine
    created the study, and writes its report.

    Raises:
        UserError: the space, the storage or the study is wrong, or workers died one after the other.
        StopRequestedError: SIGTERM or Ctrl-C was received. Finished trials stay, running ones are queued again.

    """
    tune = params.tune
    space.check(tune.space, params)
    check_outputs()
    database = storage.connect(tune.storage)
    optuna_study = study.join(database, params) if joining else study.create(database, params)
    with storage.explained_errors(tune.storage), requests_to_stop() as stop:
        if joining:
            worker_processes.run(optuna_study, params, workers, optuna_study.user_attrs.get(study.PARENT, ""), stop)
            runs.publish()
            return optuna_study
        with _tracked(optuna_study, params) as record:
            worker_processes.run(optuna_study, params, workers, record.id, stop, partial(_log_best, record, params))
            _conclude(optuna_study, params, record)
    runs.reconcile(optuna_study)
    return optuna_study


def check_outputs() -> None:
    """Raise UserError if the outputs of stages that a search reads do not exist."""
    missing = [path.as_posix() for path in study.INPUTS if not path.exists()]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: not there. A search learns from the stages' outputs: `dvc repro embed`."
        )


@contextmanager
def _tracked(optuna_study: optuna.Study, params: Params) -> Iterator[RunRecord]:
    """Yield the study's run record: a new one, or that of an earlier call on this machine."""
    folder = paths.TUNE / optuna_study.study_name
    folder.mkdir(parents=True, exist_ok=True)
    known = optuna_study.user_attrs.get(study.PARENT)
    before = paths.RUNS / known if known else None
    with tracked_run(
        "tune",
        params=params.model_dump(by_alias=True),
        inputs=study.INPUTS,
        name=f"study {optuna_study.study_name}",
        resume=before if before and before.is_dir() else None,
        resumable=folder,
    ) as record:
        optuna_study.set_user_attr(study.PARENT, record.id)
        yield record


def _conclude(optuna_study: optuna.Study, params: Params, record: RunRecord) -> None:
    """Log the study's table, plots and best trial, and how the rungs agree."""
    table(optuna_study).to_csv(record.artifact("trials.csv"), index=False, lineterminator="\n")
    for problem in plots.draw(optuna_study, record.artifact("plots/history.png").parent):
        _log.warning("%s", problem)
    if params.tune.rungs:
        trials = list(slots.by_slot(optuna_study.get_trials(deepcopy=False)).values())
        rung_plot.draw(trials, params, record.artifact("plots/rungs.png"))
        agreements = {index: rungs.agreement(trials, index).spearman for index in range(len(params.tune.rungs))}
        known = {f"rung_spearman/{index + 1}": value for index, value in agreements.items() if value is not None}
        if known:
            record.log_summary(known)
    best = slots.best_trial(optuna_study)
    if best is not None:
        summary = {"trial": best.number, "params": best.params, "values": best.values}
        files.write_json(summary, record.artifact("best.json"))


def _log_best(record: RunRecord, params: Params, state: slots.StudyState) -> None:
    """Log the best trial so far by the number of finished trials: its objective and its other metrics."""
    if state.best is None:
        return
    metrics = {f"best_objective/{params.tune.objective}": state.best.values[0], "best_trial": state.best.number}
    metrics |= {
        f"best_{name.removeprefix('val_')}": value for name, value in state.best.user_attrs[study.RESULTS].items()
    }
    record.log_epoch(state.finished, {**metrics, "finished": state.finished, "pruned": state.pruned})


def table(optuna_study: optuna.Study) -> Any:
    """Return the trials that hold a slot as a table by slot: trial, state, values and params, without times."""
    import pandas as pd

    names = [f"objective_{index}" for index in range(len(optuna_study.directions))]
    rows = [
        {
            "rung": rungs.of_slot(slot) + 1,
            "slot": slot % rungs.SLOTS,
            "trial": trial.number,
            "state": trial.state.name,
            **dict(zip(names, trial.values or [], strict=False)),  # noqa: PD011 -- a trial, not a frame
            **trial.params,
        }
        for slot, trial in sorted(slots.by_slot(optuna_study.get_trials(deepcopy=False)).items())
    ]
    return pd.DataFrame(rows)
