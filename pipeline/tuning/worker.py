"""One worker of a search: takes trials from the queue until the study has all of them.

`nsfw tune` starts it, as `python -m pipeline.tuning.worker`, and writes its orders to its stdin as a line of JSON. When
stdin ends, because `nsfw tune` has, the worker stops as if asked to, within 10 s.
"""

import fcntl
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from pipeline.core import errors, paths, processes
from pipeline.core.errors import DivergedError, StopRequestedError, UserError
from pipeline.params.root import Params, load_params
from pipeline.tracking.live_publisher import LivePublisher
from pipeline.tracking.run_record import RunRecord
from pipeline.training.interrupt import requests_to_stop
from pipeline.tuning import runs, space, study, trial

_IDLE_SECONDS = 0.5
_STOP_SECONDS = 10.0  # after its parent has ended, for the batch that is under way
_FAILURES = 3  # in a row, before a worker gives up

_log = logging.getLogger(__name__)


class SurplusError(Exception):
    """The trial holds no slot of the study."""


@dataclass(frozen=True)
class Orders:
    """What a worker is told: the study's `storage` and name, how many trials in all, the parent's record id."""

    storage: str
    study: str
    trials: int
    parent: str


def work(orders: Orders, params: Params) -> None:
    """Do trials until all slots are finished.

    Raises:
        UserError: the study is another one, or trials fail one after the other.
        StopRequestedError: SIGTERM or SIGINT came; the trial that ran is queued again by the next worker.

    """
    todo = params.tune
    searched = study.join(study.open_storage(orders.storage), params)
    searched.pruner = study.pruner(todo)
    data = trial.load(params, todo.subset)
    batch_factor = trial.batch_factor(params, data.train.pictures)
    failures = 0
    with requests_to_stop() as stop:
        while (queue := _queue(searched, params, orders.trials)) is not None:
            if stop():
                raise StopRequestedError("asked to stop between two trials; the same command goes on.")
            if not queue:  # the others are at the last trials; should one of them die, its trial comes here
                time.sleep(_IDLE_SECONDS)
                continue
            searched.sampler = study.sampler(todo, params.seed, queue[0])
            try:
                # Optuna claims a waiting trial by reading, then writing; sqlite locks no row in between, so that two
                # workers once took the same one. Until the trial has begun, no other worker of this machine looks.
                with ExitStack() as turn:
                    turn.enter_context(_only_one())

                    def objective(one: optuna.Trial, begun: Callable[[], None] = turn.close) -> tuple[float, ...]:
                        begun()
                        return _objective(one, params, data, batch_factor, orders)

                    searched.optimize(objective, n_trials=1, catch=(SurplusError,))
                failures = 0
            except (StopRequestedError, *study.SILENT):
                raise
            except Exception as error:
                failures += 1
                _log.exception("a trial failed")
                if failures == _FAILURES:
                    raise UserError(f"{_FAILURES} trials failed one after the other; the last: {error}") from error


def _queue(searched: optuna.Study, params: Params, total: int) -> list[int] | None:
    """Return the numbers of the trials that wait, the first first; None when all slots are finished."""
    with _only_one():
        optuna.storages.fail_stale_trials(searched)
        study.fail_unheard(searched)
        study.fill(searched, params, total)
    if study.standing(searched, total).finished >= total:
        return None
    return sorted(one.number for one in searched.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def _objective(
    one: optuna.Trial, params: Params, data: trial.Data, batch_factor: float, orders: Orders
) -> tuple[float, ...]:
    """Train with the values that Optuna chooses; return the objectives."""
    if study.surplus(one.study, one.number):
        raise SurplusError
    values = space.draw(one, params.tune.space, params)
    chosen = trial.short(space.apply(values, params), batch_factor)
    names = study.objectives(params.tune)
    twin = _finished_twin(one, values)
    record = runs.begin(chosen, orders.study, f"{one.number:04d}", orders.parent, number=one.number, values=values)
    one.set_user_attr(study.RECORD, record.id)
    with LivePublisher(record), record:
        try:
            results = _repeat(one, twin, record) if twin else _train(one, chosen, data, record, names)
        except optuna.TrialPruned as pruned:
            record.stop(str(pruned))
        except DivergedError as diverged:  # a result too: such values are bad
            one.set_user_attr(study.REASON, str(diverged))
            record.fail(str(diverged))
        else:
            record.log_summary({f"objective/{name}": value for name, value in zip(names, results, strict=True)})
            return results
    raise optuna.TrialPruned(record.document["reason"])


def _train(
    one: optuna.Trial, chosen: Params, data: trial.Data, record: RunRecord, names: tuple[str, ...]
) -> tuple[float, ...]:
    metric, direction = trial.METRICS[names[0]], study.direction(names[0])
    seen: list[float] = []

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        record.log_epoch(epoch, metrics)
        seen.append(metrics[metric])
        one.set_user_attr(study.RESULTS, {name: round(value, 6) for name, value in metrics.items()})
        if len(names) > 1:
            return
        one.report(trial.best(seen, direction), epoch + 1)
        if epoch + 1 < chosen.finetune.epochs and one.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {epoch + 1}: {metric} {seen[-1]:.4f}")

    model = trial.train(chosen, data, report)
    second = {
        "latency_ms": lambda: trial.latency_ms(model, chosen.backbone.size),
        "size_mb": lambda: trial.size_mb(model),
    }
    return (trial.best(seen, direction), *(second[name]() for name in names[1:]))


def _finished_twin(one: optuna.Trial, values: Mapping[str, Any]) -> optuna.trial.FrozenTrial | None:
    return next((other for other in study.finished(one.study) if other.params == dict(values)), None)


def _repeat(one: optuna.Trial, twin: optuna.trial.FrozenTrial, record: RunRecord) -> tuple[float, ...]:
    """Return the result of a finished trial with the same values."""
    one.set_user_attr(study.REUSES, twin.number)
    one.set_user_attr(study.RESULTS, twin.user_attrs.get(study.RESULTS, {}))
    for step, value in twin.intermediate_values.items():
        one.report(value, step)
    record.log_epoch(max(twin.intermediate_values, default=1) - 1, twin.user_attrs.get(study.RESULTS, {}))
    if twin.state == TrialState.PRUNED:
        raise optuna.TrialPruned(f"the same values as trial {twin.number}, which was pruned")
    return tuple(twin.values)


@contextmanager
def _only_one() -> Iterator[None]:
    """Let one worker of this machine at a time look at the queue, fill it, or take a trial from it."""
    paths.TUNE.mkdir(parents=True, exist_ok=True)
    with (paths.TUNE / "queue.lock").open("a") as handle:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX)
        yield


def main() -> None:
    """Work as stdin says."""
    orders = Orders(**json.loads(sys.stdin.readline()))
    processes.stop_with_stdin(_STOP_SECONDS)
    params = load_params()
    tune = params.tune.model_copy(update={"study": orders.study})
    with study.answering(orders.storage):
        work(orders, params.model_copy(update={"tune": tune}))


if __name__ == "__main__":
    errors.run(main)
