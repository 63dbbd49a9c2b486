"""A search: the study, its workers on this machine, how far it is, and its run in MLflow."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import optuna
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from pipeline import files, paths
from pipeline.errors import StopRequestedError, UserError
from pipeline.model.interrupt import requests_to_stop
from pipeline.params import Params
from pipeline.tracking.live import tracked_run
from pipeline.tracking.record import RunRecord
from pipeline.tracking.server import shown
from pipeline.tuning import plots, reconcile, space, study, trial
from pipeline.tuning.worker import Orders

_LOOK_SECONDS = 0.5
_END_SECONDS = 30.0  # for a worker to end in good order
_RESTARTS = 3  # of workers that die, before the search gives up
_PARENT = "parent"  # the study's attribute that names its run's record

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
    with _told_apart(todo.storage), requests_to_stop() as stop:
        if joining:
            _run_workers(searched, params, workers, searched.user_attrs.get(_PARENT, ""), stop)
            reconcile.publish()
            return searched
        with _tracked(searched, params) as record:
            _run_workers(searched, params, workers, record.id, stop, partial(_log_best, record, params))
            _conclude(searched, record)
    reconcile.reconcile(searched)
    return searched


def check_outputs() -> None:
    """Raise UserError where the stages that a search learns from have not run."""
    missing = [path.as_posix() for path in trial.INPUTS if not path.exists()]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: not there. A search learns from the stages' outputs: `dvc repro embed`."
        )


@contextmanager
def _told_apart(url: str) -> Iterator[None]:
    """Turn the storage's errors into a message."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = getattr(error, "orig", None) or error
        raise UserError(
            f"tune.storage {shown(url)!r} does not answer any more ({str(reason).strip().splitlines()[0]}). "
            "What it holds is safe; start it, and the same command goes on."
        ) from None


@contextmanager
def _tracked(searched: optuna.Study, params: Params) -> Iterator[RunRecord]:
    """Yield the study's run record: a new one, or the one that earlier calls on this machine began."""
    folder = paths.TUNE / searched.study_name
    folder.mkdir(parents=True, exist_ok=True)
    known = searched.user_attrs.get(_PARENT)
    before = paths.RUNS / known if known else None
    with tracked_run(
        "tune",
        params=params.model_dump(by_alias=True),
        inputs=trial.INPUTS,
        name=f"study {searched.study_name}",
        resume=before if before and before.is_dir() else None,
        resumable=folder,
    ) as record:
        searched.set_user_attr(_PARENT, record.id)
        yield record


def _run_workers(
    searched: optuna.Study,
    params: Params,
    count: int,
    parent: str,
    stop: Callable[[], bool],
    log: Callable[[study.Standing], None] | None = None,
) -> None:
    """Keep so many workers at it until the study is finished; `log` is told each time that trials have finished."""
    todo = params.tune
    if study.standing(searched, todo.trials).finished >= todo.trials:
        return
    orders = Orders(todo.storage, todo.study, todo.trials, parent)
    running = [_start(orders, number, count) for number in range(count)]
    restarts = 0
    with _Progress(searched, todo.trials, log) as progress:
        try:
            while progress.look().finished < todo.trials:
                if stop():
                    raise StopRequestedError(_STOPPED.format(study=todo.study))
                for number, process in enumerate(running):
                    if process.poll() in (None, 0):
                        continue
                    if restarts == _RESTARTS or process.returncode == 1:
                        raise UserError(f"a worker gave up; {_log_file(number)} ends: {_last_line(number)}")
                    restarts += 1
                    _log.warning("worker %d died (%d): another takes its place", number + 1, process.returncode)
                    running[number] = _start(orders, number, count)
                time.sleep(_LOOK_SECONDS)
        finally:
            _end(running)


def _start(orders: Orders, number: int, count: int) -> subprocess.Popen[str]:
    """Start a worker with its share of the processors; it hears of a Ctrl-C from us, once."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    own = {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": threads}
    # Several workers may share a GPU: each takes what it needs, not all.
    environment = os.environ | own | {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    _log_file(number).parent.mkdir(parents=True, exist_ok=True)
    with _log_file(number).open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tuning.worker"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            env=environment,
            start_new_session=True,
        )
    if process.stdin is not None:  # left open: it ends with us, whatever ends us
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(orders)) + "\n")
            process.stdin.flush()
    return process


def _end(running: Sequence[subprocess.Popen[str]]) -> None:
    """Ask the workers to stop after their batch, and wait for them."""
    for process in running:
        if process.poll() is None:
            process.terminate()
    end = time.monotonic() + _END_SECONDS
    for process in running:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for process in running:
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()


def _log_file(number: int) -> Path:
    return paths.TUNE / f"worker-{number + 1}.log"


def _last_line(number: int) -> str:
    lines = _log_file(number).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "(nothing)"


class _Progress:
    """Trials done and pruned, the best, the time left: a bar on a terminal, elsewhere a line for each trial."""

    def __init__(self, searched: optuna.Study, total: int, log: Callable[[study.Standing], None] | None) -> None:
        self._searched, self._total, self._log = searched, total, log
        self._tty = sys.stderr.isatty()
        self._first = study.standing(searched, total).finished
        self._last = -1
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        self._bar = tqdm(total=self._total, desc="tune", unit="trial", disable=not self._tty)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def look(self) -> study.Standing:
        """Show how far the study is; return it."""
        now = study.standing(self._searched, self._total)
        if now.finished != self._last:
            self._last = now.finished
            self._show(now)
            if self._log is not None:
                self._log(now)
        return now

    def _show(self, now: study.Standing) -> None:
        best = "none yet" if now.best is None else f"{now.best.values[0]:.4f} (trial {now.best.number})"
        text = f"{now.pruned} pruned, best {best}"
        self._bar.n = now.finished
        self._bar.set_postfix_str(text)
        if not self._tty:
            here = now.finished - self._first
            pace = (time.monotonic() - self._begun) / max(1, here)
            left = tqdm.format_interval(pace * (now.total - now.finished)) if here else "?"
            print(f"tune: {now.finished} of {now.total} trials, {text}; {left} left", file=sys.stderr, flush=True)


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


_STOPPED = "the search was asked to stop; what was finished is kept, and `nsfw tune --study {study}` goes on."
