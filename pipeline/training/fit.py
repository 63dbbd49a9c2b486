"""The training loop: step, validate, report, keep the best epoch; resumes from the last checkpoint."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.core.errors import DivergedError, StopRequestedError, UserError
from pipeline.training.checkpoint import Checkpoints, State
from pipeline.training.interrupt import requests_to_stop
from pipeline.training.progress import Progress

BEST_BY = "val_macro_recall"
START = -1.0  # the epoch number of the weights that a training starts with
Report = Callable[[int, Mapping[str, float]], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The plan of a training.

    name: of the progress bar and the messages.
    epochs, pictures, batch_size: how many epochs, of how many pictures, in batches of how many (over all devices).
    batches: (epoch from 0, pictures of it to skip, batch size) to a tf.data.Dataset of (input, label) or
        (input, label, weight) batches; the same arguments must give the same batches.
    compile: compiles the model for batches of this many micro-batches, whose gradients are averaged.
    validate: returns the metrics on the validation set; must have `val_macro_recall` and `val_loss`.
    before_validation: called with the epoch's number (from 0) after its last step; may change variables that are not
        trained. None: nothing is.
    report: called after every epoch with its number and all its metrics.
    report_start: called with the metrics before the first step; None: they are not measured.
    keep_start: whether the weights before the first step may be the best ones; only if they are measured.
    patience: stop after this many epochs without a better one; None: never.
    unsafe: the classes whose recall the progress shows.
    """

    name: str
    epochs: int
    pictures: int
    batch_size: int
    batches: Callable[[int, int, int], Any]
    compile: Callable[[int], None]
    validate: Callable[[], Mapping[str, float]]
    report: Report
    before_validation: Callable[[int], None] | None = None
    report_start: Callable[[Mapping[str, float]], None] | None = None
    keep_start: bool = True
    patience: int | None = None
    unsafe: tuple[str, ...] = ()


def fit(model: Any, plan: Plan, checkpoints: Checkpoints | None = None) -> dict[str, float]:
    """Train in place; at the end the model has the weights of the best epoch by `val_macro_recall` (then `val_loss`).

    With `checkpoints` the training resumes from the last one, and on a CPU gives the weights of an uninterrupted run.

    Returns the best epoch's metrics, with `epoch`: START if no epoch was better than the weights it started with.
    Where the start may be kept, a training whose loss is not finite ends there, and `diverged_epoch` is that epoch.

    Raises:
        DivergedError: the loss is not finite, and the start may not be kept; the last checkpoint stays.
        StopRequestedError: SIGTERM or SIGINT was received; a checkpoint has been written.

    """
    return _Training(model, plan, checkpoints).run()


class _Training:
    """One fit: the model, its best weights so far, and the number of micro-batches in a batch."""

    def __init__(self, model: Any, plan: Plan, checkpoints: Checkpoints | None) -> None:
        self._model = model
        self._plan = plan
        self._checkpoints = checkpoints
        self._best: dict[str, float] = {}
        self._best_weights: tuple[np.ndarray, ...] = ()
        self._parts = 1

    def run(self) -> dict[str, float]:
        plan = self._plan
        self._prepare(1)
        saved = self._checkpoints.load() if self._checkpoints else None
        if saved is None and plan.report_start is not None:
            self._measure_start(plan.report_start)
        initial = self._state(0, 0)  # restored when memory runs out before the first checkpoint
        if saved is not None:
            self._restore(saved)
            _log.info("%s resumes at epoch %d, picture %d", plan.name, saved.epoch + 1, saved.pictures)
        state = saved or initial
        with requests_to_stop() as stop, Progress(plan.name, plan.epochs, plan.pictures, plan.unsafe) as progress:
            epoch, pictures = state.epoch, state.pictures
            while epoch < plan.epochs and not self._patience_is_over(epoch):
                try:
                    loss = self._epoch(epoch, pictures, stop, progress)
                    self._finish_epoch(epoch, loss, progress)
                except tf.errors.ResourceExhaustedError as error:
                    if self._parts > 1 or plan.batch_size < 2:
                        raise UserError(_OUT_OF_MEMORY.format(name=plan.name)) from error
                    state = (self._checkpoints.load() if self._checkpoints else None) or initial
                    _log.warning("out of memory: each batch of %d now goes in two halves", plan.batch_size)
                    self._prepare(2)
                    self._restore(state)
                    epoch, pictures = state.epoch, state.pictures
                    continue
                except DivergedError as error:
                    self._end_diverged(epoch, error)
                    break
                epoch, pictures = epoch + 1, 0
                self._save(epoch, 0)
                if stop():
                    self._interrupted(epoch, 0)
        self._model.set_weights(list(self._best_weights))
        return self._best

    def _measure_start(self, report: Callable[[Mapping[str, float]], None]) -> None:
        metrics = dict(self._plan.validate())
        report(metrics)
        if self._plan.keep_start:
            self._best = {**metrics, "epoch": START}
            self._best_weights = tuple(self._model.get_weights())

    def _prepare(self, parts: int) -> None:
        self._parts = parts
        with self._model.distribute_strategy.scope():
            self._plan.compile(parts)
            self._model.optimizer.build(self._model.trainable_variables)
        self._step = _step(self._model)

    def _epoch(self, epoch: int, seen: int, stop: Callable[[], bool], progress: Progress) -> float:
        """Train on the rest of an epoch, of which `seen` pictures are done; return its mean loss."""
        plan, model = self._plan, self._model
        if seen == 0:
            model.reset_metrics()
        size = max(1, plan.batch_size // self._parts)
        batches = model.distribute_strategy.experimental_distribute_dataset(plan.batches(epoch, seen, size))
        iterator = iter(batches)
        progress.begin_epoch(epoch, seen)
        loss = math.nan
        while seen < plan.pictures:
            loss = float(self._step(iterator))
            if not math.isfinite(loss):
                position = {"epoch": epoch + 1, "batch": seen // size + 1}
                raise DivergedError(_DIVERGED.format(name=plan.name, loss=loss, **position))
            seen = min(plan.pictures, seen + size)
            progress.advance(seen)
            if seen < plan.pictures and (stop() or (self._checkpoints is not None and self._checkpoints.due)):
                self._save(epoch, seen)
                if stop():
                    self._interrupted(epoch, seen)
        return loss

    def _finish_epoch(self, epoch: int, loss: float, progress: Progress) -> None:
        if self._plan.before_validation is not None:
            self._plan.before_validation(epoch)
        metrics = {"loss": loss, "learning_rate": _rate(self._model), **self._plan.validate()}
        self._plan.report(epoch, metrics)
        if not self._best or _rank(metrics) > _rank(self._best):
            self._best = {**metrics, "epoch": float(epoch)}
            self._best_weights = tuple(self._model.get_weights())
        progress.end_epoch(metrics)

    def _end_diverged(self, epoch: int, error: DivergedError) -> None:
        """End with the best weights so far; raise the error where those of the start may not be the result."""
        if self._plan.report_start is None or not self._plan.keep_start:
            raise error
        _log.warning("%s DIVERGED, and ends with the best weights before that. %s", self._plan.name, error)
        self._best["diverged_epoch"] = float(epoch)

    def _patience_is_over(self, epoch: int) -> bool:
        patience = self._plan.patience
        return patience is not None and bool(self._best) and epoch - 1 - self._best["epoch"] >= patience

    def _interrupted(self, epoch: int, seen: int) -> None:
        position = {"name": self._plan.name, "epoch": epoch + 1, "seen": seen}
        raise StopRequestedError((_STOPPED if self._checkpoints is None else _STOPPED + _SAVED).format(**position))

    def _save(self, epoch: int, seen: int) -> None:
        if self._checkpoints is not None:
            self._checkpoints.save(self._state(epoch, seen))

    def _state(self, epoch: int, seen: int) -> State:
        values = {name: keras.ops.convert_to_numpy(variable) for name, variable in self._variables().items()}
        return State(epoch, seen, self._parts, values, self._best, self._best_weights)

    def _restore(self, state: State) -> None:
        if state.parts != self._parts and state.parts > 1:
            self._prepare(state.parts)
        for name, variable in self._variables().items():
            if name in state.values or not name.startswith("sum/"):  # gradient sums start at zero if the state has none
                value = state.values[name]
                # An optimizer counts micro-batches, so the count changes with their number.
                variable.assign(value * (self._parts // state.parts) if variable.path.endswith("/iteration") else value)
        self._best, self._best_weights = dict(state.best), state.best_weights

    def _variables(self) -> dict[str, Any]:
        """Everything that a step changes or depends on, by group and index: a process' second model has other paths."""
        model = self._model
        sums = [variable for variable in model.optimizer.variables if "gradient_accumulator" in variable.path]
        known = {id(variable) for variable in sums}
        groups = {
            "model": model.variables,
            "optimizer": [variable for variable in model.optimizer.variables if id(variable) not in known],
            "sum": sums,
            "metrics": model.metrics_variables,
        }
        return {f"{group}/{index:05d}": item for group, items in groups.items() for index, item in enumerate(items)}


def _step(model: Any) -> Callable[[Any], Any]:
    """Return a function that trains on an iterator's next batch and returns the epoch's mean loss so far.

    It is not Keras' own fit, because loss and signals are checked and checkpoints written between two steps, and
    because that of Keras 3.15 does not run under MultiWorkerMirroredStrategy.
    """
    strategy = model.distribute_strategy
    one_step = tf.function(model.train_step, jit_compile=model.jit_compile is True, reduce_retracing=True)

    def step(iterator: Any) -> Any:
        logs = strategy.run(one_step, args=(next(iterator),))
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, logs["loss"], axis=None)

    compiled: Callable[[Any], Any] = tf.function(step, reduce_retracing=True)
    return compiled


def _rank(metrics: Mapping[str, float]) -> tuple[float, float]:
    return metrics[BEST_BY], -metrics["val_loss"]


def _rate(model: Any) -> float:
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


_DIVERGED = (
    "{name} diverged at epoch {epoch}, batch {batch}: the loss is {loss}. "
    "Lower train.learning_rate (or finetune.schedule's rate), or set finetune.clip_norm, in params.yaml, and run this "
    "again."
)
_STOPPED = "{name} was asked to stop at epoch {epoch}, picture {seen}"
_SAVED = "; its checkpoint is saved: `dvc repro` goes on."
_OUT_OF_MEMORY = "{name} is out of memory, with half batches too. Lower {name}.batch_size or backbone.size."
