"""A search: the study, its crew of workers on this machine, its run in MLflow and its report."""

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
from pipeline.tuning import plots, runs, space, study, trial, worker_processes

_log = logging.getLogger(__name__)


def search(params: Params, *, workers: int, joining: bool = False) -> optuna.Study:
    """Bring the study to `tune.trials` finished trials, by so many workers here and whoever else takes part.

    A study that has them already is left as it is. `joining`: another machine made the study and writes its report.

    Raises:
        UserError: the space, the storage or the study is wrong, or workers died one after the other.
        StopRequestedError: SIGTERM or Ctrl-C came. What is finished stays, what ran is queued again.

    """
    todo = params.tune
    space.check(todo.space, params)
    check_outputs()
    storage = study.open_storage(todo.storage)
    searched = study.join(storage, params) if joining else study.create(storage, params)
    with study.answering(todo.storage), requests_to_stop() as stop:
        if joining:
            worker_processes.run(searched, params, workers, searched.user_attrs.get(study.PARENT, ""), stop)
            runs.publish()
            return searched
        with _tracked(searched, params) as record:
            worker_processes.run(searched, params, workers, record.id, stop, partial(_log_best, record, params))
            _conclude(searched, record)
    runs.reconcile(searched)
    return searched


def check_outputs() -> None:
    """Raise UserError where the stages that a search learns from have not run."""
    missing = [path.as_posix() for path in trial.INPUTS if not path.exists()]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: not there. A search learns from the stages' outputs: `dvc repro embed`."
        )


@contextmanager
def _tracked(searched: optuna.Study, params: Params) -> Iterator[RunRecord]:
    """Yield the study's run record: a new one, or the one that earlier calls on this machine began."""
    folder = paths.TUNE / searched.study_name
    folder.mkdir(parents=True, exist_ok=True)
    known = searched.user_attrs.get(study.PARENT)
    before = paths.RUNS / known if known else None
    with tracked_run(
        "tune",
        params=params.model_dump(by_alias=True),
        inputs=trial.INPUTS,
        name=f"study {searched.study_name}",
        resume=before if before and before.is_dir() else None,
        resumable=folder,
    ) as record:
        searched.set_user_attr(study.PARENT, record.id)
        yield record


def _conclude(searched: optuna.Study, record: RunRecord) -> None:
    """Log the study's table, plots and best trial."""
    table(searched).to_csv(record.artifact("trials.csv"), index=False, lineterminator="\n")
    for problem in plots.draw(searched, record.artifact("plots/history.png").parent):
        _log.warning("%s", problem)
    best = study.winner(searched)
    if best is not None:
        found = {"trial": best.number, "params": best.params, "values": best.values}
        files.write_json(found, record.artifact("best.json"))


def _log_best(record: RunRecord, params: Params, now: study.Standing) -> None:
    """Log the best so far, by the number of finished trials: its objective and its other metrics."""
    if now.best is None:
        return
    metrics = {f"best_objective/{params.tune.objective}": now.best.values[0], "best_trial": now.best.number}
    metrics |= {
        f"best_{name.removeprefix('val_')}": value for name, value in now.best.user_attrs[study.RESULTS].items()
    }
    record.log_epoch(now.finished, {**metrics, "finished": now.finished, "pruned": now.pruned})


def table(searched: optuna.Study) -> Any:
    """Return the trials that hold a slot as a table, in order: slot, state, values and params, without times."""
    import pandas as pd

    names = [f"objective_{index}" for index in range(len(searched.directions))]
    rows = [
        {
            "slot": slot,
            "trial": one.number,
            "state": one.state.name,
            **dict(zip(names, one.values or [], strict=False)),  # noqa: PD011 -- a trial, not a frame
            **one.params,
        }
        for slot, one in sorted(study.slots(searched.get_trials(deepcopy=False)).items())
    ]
    return pd.DataFrame(rows)
