"""The workers of a search on this machine: starts, watches, replaces and ends their processes."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna

from pipeline.core import paths
from pipeline.core.errors import StopRequestedError, UserError
from pipeline.params.root import Params
from pipeline.tuning import slots
from pipeline.tuning.progress import Progress

_LOOK_SECONDS = 0.5
_END_SECONDS = 30.0  # for a worker to end in good order
_RESTARTS = 3  # of workers that die, before the search gives up
_STOPPED = "the search was asked to stop; what was finished is kept, and `nsfw tune --study {study}` goes on."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerConfig:
    """A worker's config: the study's `storage` and name, its trials in the first rung, the id of the study's record."""

    storage: str
    study: str
    trials: int
    parent: str


def run(
    study: optuna.Study,
    params: Params,
    count: int,
    parent: str,
    stop: Callable[[], bool],
    log: Callable[[slots.StudyState], None] | None = None,
) -> None:
    """Run `count` workers until the study is finished; `log` gets its state whenever trials have finished.

    Raises:
        UserError: a worker gave up, or workers died more often than they are replaced.
        StopRequestedError: `stop()` returned true.

    """
    tune = params.tune
    if slots.study_state(study, params).ended:
        return
    config = WorkerConfig(tune.storage, tune.study, tune.trials, parent)
    running = [_start(config, number, count) for number in range(count)]
    restarts = 0
    with Progress(study, params, log) as progress:
        try:
            while not progress.update().ended:
                if stop():
                    raise StopRequestedError(_STOPPED.format(study=tune.study))
                for number, process in enumerate(running):
                    if process.poll() in (None, 0):
                        continue
                    if restarts == _RESTARTS or process.returncode == 1:
                        raise UserError(f"a worker gave up; {_log_file(number)} ends: {_last_line(number)}")
                    restarts += 1
                    _log.warning("worker %d died (%d): another takes its place", number + 1, process.returncode)
                    running[number] = _start(config, number, count)
                time.sleep(_LOOK_SECONDS)
        finally:
            _end(running)


def _start(config: WorkerConfig, number: int, count: int) -> subprocess.Popen[str]:
    """Start a worker with its share of the processors, in a session of its own: only we pass a Ctrl-C on to it."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    own = {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": threads}
    # Several workers may share a GPU, so each takes only the memory that it needs.
    environment = os.environ | own | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
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
    if process.stdin is not None:  # stays open until this process ends, by which the worker notices
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(config)) + "\n")
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
