import logging
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.core.errors import StopRequestedError, UserError
from pipeline.model import objective
from pipeline.training import fit
from pipeline.training.checkpoint import Checkpoints

pytestmark = pytest.mark.untraced

PICTURES, BATCH = 22, 4


class Trial:
    """A small training with dropout, each epoch in its own order.

    stop_at, poison_at: the batch (from 1) that brings a SIGTERM, or NaN. largest: the batch that memory holds.
    """

    def __init__(
        self,
        folder=None,
        *,
        epochs=4,
        optimizer="adam",
        rate=0.05,
        momentum=0.9,
        dropout=0.3,
        pictures=PICTURES,
        scores=None,
        patience=None,
        measures_start=False,
        keep_start=True,
        stop_at=None,
        poison_at=None,
        largest=BATCH,
    ):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((5,))
        x = keras.layers.Dense(12, activation="relu")(inputs)
        x = keras.layers.Dropout(dropout, seed=3)(x)
        self.model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
        self.reported, self.requests, self.weights = [], [], []
        rng = np.random.default_rng(0)
        self.x, self.y = rng.normal(size=(pictures, 5)).astype("f"), rng.integers(0, 3, pictures)
        self.scores, self.largest = scores, largest
        self.stop_at, self.poison_at, self.batch = stop_at, poison_at, 0
        self.checkpoints = None if folder is None else Checkpoints(folder, every_minutes=1e-9)
        decay = keras.optimizers.schedules.ExponentialDecay
        self.plan = fit.Plan(
            name="trial",
            epochs=epochs,
            pictures=pictures,
            batch_size=BATCH,
            batches=self.batches,
            compile=lambda parts: objective.compile_model(
                self.model, decay(rate, 6, 0.9), optimizer, momentum, parts=parts
            ),
            validate=self.validate,
            report=self.report,
            report_start=(lambda metrics: self.report(fit.START, metrics)) if measures_start else None,
            keep_start=keep_start,
            patience=patience,
        )

    def batches(self, epoch, seen, size):
        self.requests.append((epoch, seen, size))
        order = np.random.default_rng([1, epoch]).permutation(len(self.y))[seen:]

        def read():
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                self.batch += 1
                if len(chosen) > self.largest:
                    raise MemoryError
                if self.batch == self.stop_at:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield self.x[chosen] * np.float32(3e38 if self.batch == self.poison_at else 1), self.y[chosen]

        shapes = (tf.TensorSpec((None, 5), tf.float32), tf.TensorSpec((None,), tf.int64))
        return tf.data.Dataset.from_generator(read, output_signature=shapes)

    def validate(self):
        self.weights.append(self.model.get_weights())
        if self.scores:
            recall, loss = self.scores[len(self.weights) - 1]
            return {"val_macro_recall": recall, "val_loss": loss}
        answers = self.model(self.x, training=False).numpy()
        loss = -np.log(answers[range(len(self.y)), self.y]).mean()
        return {"val_macro_recall": float((answers.argmax(axis=1) == self.y).mean()), "val_loss": float(loss)}

    def report(self, epoch, metrics):
        self.reported.append((epoch, dict(metrics)))

    def run(self):
        return fit.fit(self.model, self.plan, self.checkpoints)


def equal(left, right) -> bool:
    return all(np.array_equal(one, two) for one, two in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.2, 1.0), (0.9, 1.0), (0.5, 0.1)], 1),
        ([(0.9, 1.0), (0.9, 0.5), (0.9, 0.7)], 1),  # equal recall: the lower loss
        ([(0.5, 1.0), (0.5, 1.0)], 0),  # equal in all: the earlier
        ([(0.1, 1.0), (0.2, 2.0)], 1),
    ],
)
def test_the_best_epoch_is_kept_and_every_one_reported(scores, best):
    trial = Trial(scores=scores, epochs=len(scores))
    best_metrics = trial.run()
    assert [epoch for epoch, _ in trial.reported] == list(range(len(scores)))
    assert [(line["val_macro_recall"], line["val_loss"]) for _, line in trial.reported] == scores
    rates = [line["learning_rate"] for _, line in trial.reported]
    assert rates == pytest.approx([0.05 * 0.9 ** (epoch + 1) for epoch in range(len(scores))])
    assert all(line["loss"] > 0 for _, line in trial.reported)
    assert best_metrics == {**trial.reported[best][1], "epoch": best}
    assert equal(trial.model.get_weights(), trial.weights[best])
    assert not equal(trial.weights[0], trial.weights[-1])


def test_where_no_epoch_is_better_the_start_is_kept():
    trial = Trial(scores=[(0.7, 1.0), (0.2, 1.0), (0.7, 1.0), (0.6, 0.5)], epochs=3, measures_start=True)
    before = trial.model.get_weights()
    best_metrics = trial.run()
    assert [epoch for epoch, _ in trial.reported] == [fit.START, 0, 1, 2]
    assert best_metrics == {"val_macro_recall": 0.7, "val_loss": 1.0, "epoch": fit.START}
    assert equal(trial.model.get_weights(), before)
    assert not equal(trial.weights[-1], before)


def test_a_start_that_is_not_to_be_kept_is_measured_all_the_same():
    trial = Trial(scores=[(0.7, 1.0), (0.2, 1.0), (0.6, 0.5)], epochs=2, measures_start=True, keep_start=False)
    assert trial.run()["epoch"] == 1
    assert trial.reported[0] == (fit.START, {"val_macro_recall": 0.7, "val_loss": 1.0})


def test_an_epoch_that_is_better_than_the_start_is_taken():
    trial = Trial(scores=[(0.7, 1.0), (0.2, 1.0), (0.71, 2.0)], epochs=2, measures_start=True)
    assert trial.run()["epoch"] == 1
    assert equal(trial.model.get_weights(), trial.weights[2])


def test_patience_counts_from_the_start_too():
    trial = Trial(scores=[(0.9, 1.0), *[(0.5, 1.0)] * 6], epochs=6, patience=2, measures_start=True)
    trial.run()
    assert [epoch for epoch, _ in trial.reported] == [fit.START, 0, 1]


def test_after_a_kill_the_start_is_still_a_candidate_and_not_measured_again(tmp_path):
    whole = Trial(scores=[(0.9, 1.0), *[(0.5, 1.0)] * 4], epochs=4, measures_start=True)
    before = whole.model.get_weights()
    stopped = Trial(tmp_path, scores=whole.scores, epochs=4, measures_start=True, stop_at=9)
    with pytest.raises(StopRequestedError):
        stopped.run()
    again = Trial(tmp_path, scores=[(0.5, 1.0)] * 4, epochs=4, measures_start=True)
    assert again.run()["epoch"] == fit.START
    assert fit.START not in [epoch for epoch, _ in again.reported]
    assert equal(again.model.get_weights(), before)


def test_it_learns_and_the_loss_is_the_epochs_mean():
    still = Trial(epochs=1, optimizer="sgd", rate=1e-12, dropout=0.0)  # each batch's loss is of the same weights
    still.run()
    answers = still.model(still.x).numpy()
    assert still.reported[0][1]["loss"] == pytest.approx(-np.log(answers[range(PICTURES), still.y]).mean(), rel=1e-5)
    learning = Trial(epochs=30)
    learning.run()
    assert learning.reported[-1][1]["loss"] < 0.8 * learning.reported[0][1]["loss"]


def test_patience_ends_a_training_that_no_longer_gains():
    scores = [(0.5, 1.0), (0.6, 1.0), (0.6, 1.0), (0.5, 1.0), (0.9, 1.0), (0.9, 1.0)]
    trial = Trial(scores=scores, epochs=6, patience=2)
    assert trial.run()["epoch"] == 1
    assert len(trial.reported) == 4


def test_patience_is_remembered_when_it_goes_on(tmp_path):
    scores = [(0.5, 1.0), (0.6, 1.0), (0.6, 1.0), (0.5, 1.0), (0.9, 1.0)]
    with pytest.raises(fit.StopRequestedError):
        Trial(tmp_path, scores=scores, epochs=5, patience=2, stop_at=16).run()
    again = Trial(tmp_path, scores=scores[2:], epochs=5, patience=2)
    assert again.run()["epoch"] == 1
    assert [epoch for epoch, _ in again.reported] == [2, 3]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("batch", [1, 8, 11, 12, 17])
def test_stopped_anywhere_it_goes_on_to_the_same_weights(tmp_path, optimizer, batch):
    """Six batches an epoch: within an epoch, at its last batch, right after it."""
    straight = Trial(optimizer=optimizer)
    best = straight.run()
    first = Trial(tmp_path, optimizer=optimizer, stop_at=batch)
    with pytest.raises(fit.StopRequestedError, match=r"asked to stop at epoch \d.*`dvc repro` goes on"):
        first.run()
    second = Trial(tmp_path, optimizer=optimizer)
    assert second.run() == best
    assert equal(second.model.get_weights(), straight.model.get_weights())
    assert second.requests[0][:2] > (0, 0)
    assert dict(first.reported) | dict(second.reported) == dict(straight.reported)


def test_what_was_stopped_twice_and_finished_has_nothing_left_to_do(tmp_path):
    straight = Trial()
    straight.run()
    for batch in (5, 9):
        with pytest.raises(fit.StopRequestedError):
            Trial(tmp_path, stop_at=batch).run()
    Trial(tmp_path).run()
    done = Trial(tmp_path)
    done.run()
    assert done.reported == []
    assert equal(done.model.get_weights(), straight.model.get_weights())


def test_a_loss_that_is_not_finite_stops_within_a_batch_and_keeps_the_last_checkpoint(tmp_path):
    trial = Trial(tmp_path, poison_at=9)  # the third batch of the second epoch
    with pytest.raises(UserError, match=r"trial diverged at epoch 2, batch 3: the loss is nan.*rate"):
        trial.run()
    assert [epoch for epoch, _ in trial.reported] == [0]
    saved = Checkpoints(tmp_path, 1.0).load()
    assert (saved.epoch, saved.pictures) == (1, 2 * BATCH)
    assert all(np.isfinite(value).all() for value in saved.values.values())
    straight, again = Trial(), Trial(tmp_path)  # the poison was in the data alone
    assert again.run() == straight.run()
    assert equal(again.model.get_weights(), straight.model.get_weights())


@pytest.mark.parametrize(("scores", "best"), [([(0.4, 1.0), (0.2, 1.0)], fit.START), ([(0.4, 1.0), (0.6, 1.0)], 0)])
def test_a_loss_that_is_not_finite_ends_with_the_best_weights_if_the_start_may_be_kept(scores, best, caplog):
    trial = Trial(scores=scores, poison_at=9, measures_start=True)
    with caplog.at_level(logging.WARNING):
        metrics = trial.run()
    recall, loss = scores[int(best) + 1]
    assert (metrics["val_macro_recall"], metrics["val_loss"]) == (recall, loss)
    assert (metrics["epoch"], metrics["diverged_epoch"]) == (best, 1.0)
    assert equal(trial.model.get_weights(), trial.weights[int(best) + 1])
    assert "trial DIVERGED, and ends with the best weights before that" in caplog.text
    assert "epoch 2, batch 3: the loss is nan" in caplog.text


def test_a_loss_that_is_not_finite_is_an_error_if_the_start_may_not_be_kept():
    with pytest.raises(UserError, match="trial diverged at epoch 2"):
        Trial(poison_at=9, measures_start=True, keep_start=False).run()


def test_out_of_memory_halves_the_batch_once_and_loses_nothing(tmp_path, caplog):
    options = {"optimizer": "sgd", "dropout": 0.0, "pictures": 24, "momentum": 0.0}
    straight = Trial(**options)
    best = straight.run()
    trial = Trial(tmp_path, largest=BATCH // 2, stop_at=None, **options)
    with caplog.at_level(logging.WARNING):
        best_metrics = trial.run()
    assert "out of memory: each batch of 4 now goes in two halves" in caplog.text
    assert {size for _, _, size in trial.requests[1:]} == {BATCH // 2}
    # Two halves' mean gradient is the whole batch's, and the rate decays as before.
    assert best_metrics["epoch"] == best["epoch"]
    assert best_metrics["learning_rate"] == pytest.approx(best["learning_rate"])
    for one, two in zip(trial.model.get_weights(), straight.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_out_of_memory_with_halves_too_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"out of memory, with half batches too.*batch_size"):
        Trial(tmp_path, largest=1).run()


def test_halved_batches_are_remembered_when_it_goes_on(tmp_path):
    options = {"largest": BATCH // 2, "pictures": 24}
    straight = Trial(tmp_path / "straight", **options)
    straight.run()
    with pytest.raises(fit.StopRequestedError):
        Trial(tmp_path / "stopped", stop_at=15, **options).run()
    again = Trial(tmp_path / "stopped", **options)
    again.run()
    assert {size for _, _, size in again.requests} == {BATCH // 2}
    assert equal(again.model.get_weights(), straight.model.get_weights())
