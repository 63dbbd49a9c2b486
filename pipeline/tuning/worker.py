"""One worker of a search: takes trials from the queue until all slots of the study are finished.

`nsfw tune` starts it as `python -m pipeline.tuning.worker`, and writes its config to its stdin as a line of JSON. When
stdin ends, because `nsfw tune` has ended, the worker stops within 10 s, as after a SIGTERM.
"""

import fcntl
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import optuna
from optuna.trial import TrialState

from pipeline.core import errors, paths, processes
from pipeline.core.errors import DivergedError, StopRequestedError, UserError
from pipeline.params.root import Params, load_params
from pipeline.tracking.live_publisher import LivePublisher
from pipeline.tracking.run_record import RunRecord
from pipeline.training.both_stages import Data
from pipeline.training.interrupt import requests_to_stop
from pipeline.tuning import rungs, runs, slots, space, storage, study, trial
from pipeline.tuning.worker_processes import WorkerConfig

_IDLE_SECONDS = 0.5
_STOP_SECONDS = 10.0  # after its parent has ended, to finish the current batch
_FAILURES = 3  # in a row, before a worker gives up

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """What the trials of a rung share: params with its epochs and share of train, the data, the factor of batches."""

    params: Params
    data: Data
    batch_factor: float

    @classmethod
    def load(cls, params: Params) -> "Setting":
        """Open the data of the params' rung."""
        data = trial.load(params, params.tune.subset)
        return cls(params, data, trial.batch_factor(params, data.train.pictures))


class SurplusError(Exception):
    """The trial holds no slot of the study."""


def run_trials(config: WorkerConfig, params: Params) -> None:
    """Run trials until all slots are finished.

    Raises:
        UserError: the study is another one, or trials fail one after the other.
        StopRequestedError: SIGTERM or SIGINT was received; the next worker queues the trial that ran again.

    """
    tune = params.tune
    optuna_study = study.join(storage.connect(config.storage), params)
    optuna_study.pruner = study.pruner(tune)

    @lru_cache(maxsize=1)
    def setting(rung: int) -> Setting:
        return Setting.load(rungs.params_at(params, rung))

    def objective(optuna_trial: optuna.Trial) -> tuple[float, ...]:
        return _objective(optuna_trial, setting(rungs.of_trial(optuna_trial)), config)

    failures = 0
    with requests_to_stop() as stop:
        while (queue := _queue(optuna_study, params)) is not None:
            if stop():
                raise StopRequestedError("asked to stop between two trials; the same command goes on.")
            if not queue:  # others run the last trials; if one of them dies, its trial is queued again
                time.sleep(_IDLE_SECONDS)
                continue
            optuna_study.sampler = study.sampler(tune, params.seed, queue[0])
            try:
                _run_next(optuna_study, objective)
                failures = 0
            except (StopRequestedError, *storage.STORAGE_ERRORS):
                raise
            except Exception as error:
                failures += 1
                _log.exception("a trial failed")
                if failures == _FAILURES:
                    raise UserError(f"{_FAILURES} trials failed one after the other; the last: {error}") from error


def _run_next(optuna_study: optuna.Study, objective: Callable[[optuna.Trial], tuple[float, ...]]) -> None:
    """Take the next waiting trial and run it; hold the queue's lock until the trial has started.

    Optuna claims a waiting trial by reading, then writing. Sqlite locks no row in between, so that without the lock two
    workers may take the same trial.
    """
    with ExitStack() as lock:
        lock.enter_context(_queue_lock())

        def unlock_and_run(optuna_trial: optuna.Trial) -> tuple[float, ...]:
            lock.close()
            return objective(optuna_trial)

        optuna_study.optimize(unlock_and_run, n_trials=1, catch=(SurplusError,))


def _queue(optuna_study: optuna.Study, params: Params) -> list[int] | None:
    """Return the numbers of the waiting trials, sorted; None if all slots are finished."""
    with _queue_lock():
        optuna.storages.fail_stale_trials(optuna_study)
        storage.fail_trials_without_heartbeat(optuna_study)
        slots.fill(optuna_study, params)
    if slots.study_state(optuna_study, params).ended:
        return None
    return sorted(
        optuna_trial.number for optuna_trial in optuna_study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    )


def _objective(optuna_trial: optuna.Trial, setting: Setting, config: WorkerConfig) -> tuple[float, ...]:
    """Train with the values that Optuna chooses; return the objectives' values."""
    if slots.is_surplus(optuna_trial.study, optuna_trial.number):
        raise SurplusError
    params = setting.params
    values = space.draw(optuna_trial, params.tune.space, params)
    chosen = trial.short_params(space.apply(values, params), setting.batch_factor)
    names = study.objectives(params.tune)
    twin = _finished_twin(optuna_trial, values)
    record = runs.begin(
        chosen, config.study, f"{optuna_trial.number:04d}", config.parent, number=optuna_trial.number, values=values
    )
    optuna_trial.set_user_attr(study.RECORD, record.id)
    with LivePublisher(record), record:
        try:
            results = (
                _repeat(optuna_trial, twin, record)
                if twin
                else _train(optuna_trial, chosen, setting.data, record, names)
            )
        except optuna.TrialPruned as pruned:
            record.stop(str(pruned))
        except DivergedError as diverged:  # a result as well: these values are bad
            optuna_trial.set_user_attr(study.REASON, str(diverged))
            record.fail(str(diverged))
        else:
            record.log_summary({f"objective/{name}": value for name, value in zip(names, results, strict=True)})
            return results
    raise optuna.TrialPruned(record.document["reason"])


def _train(
    optuna_trial: optuna.Trial, chosen: Params, data: Data, record: RunRecord, names: tuple[str, ...]
) -> tuple[float, ...]:
    metric, direction = trial.METRICS[names[0]], study.direction(names[0])
    seen: list[float] = []

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        record.log_epoch(epoch, metrics)
        seen.append(metrics[metric])
        optuna_trial.set_user_attr(study.RESULTS, {name: round(value, 6) for name, value in metrics.items()})
        if len(names) > 1 or rungs.of_trial(optuna_trial) > 0:
            return  # the few trials of a further rung are not compared with those of shorter courses
        optuna_trial.report(trial.best(seen, direction), epoch + 1)
        if epoch + 1 < chosen.finetune.epochs and optuna_trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {epoch + 1}: {metric} {seen[-1]:.4f}")

    model = trial.train(chosen, data, report)
    second = {
        "latency_ms": lambda: trial.latency_ms(model, chosen.backbone.size),
        "size_mb": lambda: trial.size_mb(model),
    }
    return (trial.best(seen, direction), *(second[name]() for name in names[1:]))


def _finished_twin(optuna_trial: optuna.Trial, values: Mapping[str, Any]) -> optuna.trial.FrozenTrial | None:
    rung = rungs.of_trial(optuna_trial)
    others = [other for other in slots.finished_trials(optuna_trial.study) if rungs.of_trial(other) == rung]
    return next((other for other in others if other.params == dict(values)), None)


def _repeat(optuna_trial: optuna.Trial, twin: optuna.trial.FrozenTrial, record: RunRecord) -> tuple[float, ...]:
    """Return the result of a finished trial with the same values."""
    optuna_trial.set_user_attr(study.REUSES, twin.number)
    optuna_trial.set_user_attr(study.RESULTS, twin.user_attrs.get(study.RESULTS, {}))
    for step, value in twin.intermediate_values.items():
        optuna_trial.report(value, step)
    record.log_epoch(max(twin.intermediate_values, default=1) - 1, twin.user_attrs.get(study.RESULTS, {}))
    if twin.state == TrialState.PRUNED:
        raise optuna.TrialPruned(f"the same values as trial {twin.number}, which was pruned")
    return tuple(twin.values)


@contextmanager
def _queue_lock() -> Iterator[None]:
    """Hold the lock by which one worker of this machine at a time reads or fills the queue, or takes a trial."""
    paths.TUNE.mkdir(parents=True, exist_ok=True)
    with (paths.TUNE / "queue.lock").open("a") as handle:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX)
        yield


def main() -> None:
    """Run trials by the config on stdin."""
    config = WorkerConfig(**json.loads(sys.stdin.readline()))
    processes.stop_with_stdin(_STOP_SECONDS)
    params = load_params()
    tune = params.tune.model_copy(update={"study": config.study, "trials": config.trials})
    with storage.explained_errors(config.storage):
        run_trials(config, params.model_copy(update={"tune": tune}))


if __name__ == "__main__":
    errors.run(main)
