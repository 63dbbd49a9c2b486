import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import schedule
from pipeline.params import Cosine, Exponential, Piecewise

rates = st.floats(1e-5, 1.0)
warmups = st.sampled_from([0.0, 0.5, 1.0, 2.0])
runs = st.tuples(st.integers(1, 7), st.integers(1, 6))  # steps an epoch, epochs
few = settings(max_examples=20, deadline=None)


def check(built, epochs: int, steps: int, warmup: float, wanted) -> None:
    at = np.arange(epochs * steps)
    ramp = np.minimum(1.0, (at + 1) / max(1, round(warmup * steps)))
    found = np.array(built(at.astype("float32"))) if not isinstance(built.inner, PIECEWISE) else [built(k) for k in at]
    np.testing.assert_allclose(found, ramp * [wanted(k) for k in at], rtol=2e-4, atol=1e-9)


PIECEWISE = keras.optimizers.schedules.PiecewiseConstantDecay


@few
@given(runs, rates, st.floats(0.1, 1.0), st.sampled_from([0.5, 1.0, 3.0]), warmups)
def test_exponential(run, initial, rate, every, warmup):
    steps, epochs = run
    said = Exponential(kind="exponential", initial=initial, rate=rate, every_epochs=every, warmup_epochs=warmup)
    built = schedule.build(said, steps, epochs)
    check(built, epochs, steps, warmup, lambda step: initial * rate ** (step / steps / every))


@few
@given(runs, rates, st.floats(0.0, 1.0), warmups)
def test_cosine(run, initial, share, warmup):
    steps, epochs = run
    final = initial * share
    built = schedule.build(Cosine(kind="cosine", initial=initial, final=final, warmup_epochs=warmup), steps, epochs)
    half = lambda step: (1 + np.cos(np.pi * step / (epochs * steps))) / 2  # noqa: E731 -- shorter than its def
    check(built, epochs, steps, warmup, lambda step: final + (initial - final) * half(step))


@few
@given(runs, st.lists(rates, min_size=3, max_size=3), warmups)
def test_piecewise(run, values, warmup):
    steps, epochs = run
    said = Piecewise(kind="piecewise", boundaries=(1.0, 3.0), values=tuple(values), warmup_epochs=warmup)
    built = schedule.build(said, steps, epochs)
    # A boundary's own step is the last of its value.
    check(
        built,
        epochs,
        steps,
        warmup,
        lambda step: values[0] if step <= steps else values[1] if step <= 3 * steps else values[2],
    )


def test_the_optimizer_follows_it():
    said = Exponential(kind="exponential", initial=0.1, rate=0.5, every_epochs=1.0, warmup_epochs=1.0)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(schedule.build(said, 4, 3)), "mse", run_eagerly=True)
    model.fit(np.ones((8, 2)), np.ones(8), batch_size=2, verbose=0)  # an epoch of 4 steps
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1 * 0.5)
