import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import schedule
from pipeline.params.schedule import Cosine, Exponential, Piecewise

pytestmark = pytest.mark.untraced

rates = st.floats(1e-5, 1.0)
runs = st.tuples(st.integers(1, 7), st.integers(1, 6))  # steps an epoch, epochs
few = settings(max_examples=40, deadline=None)
every_warmup = pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0, 2.5])  # epochs


def check(built, epochs: int, steps: int, warmup: float, wanted) -> None:
    """Compare at every step of a run, and at two steps after its end."""
    at = np.arange(epochs * steps + 2)
    ramp = np.minimum(1.0, (at + 1) / max(1, round(warmup * steps)))
    rates = [float(built(step)) for step in at]
    np.testing.assert_allclose(rates, ramp * [wanted(step) for step in at], rtol=2e-4, atol=1e-9)


@every_warmup
@few
@given(runs, rates, st.floats(0.1, 1.0), st.sampled_from([0.5, 1.0, 3.0]))
def test_exponential(warmup, run, initial, rate, every):
    steps, epochs = run
    params = Exponential(kind="exponential", initial=initial, rate=rate, every_epochs=every, warmup_epochs=warmup)
    built = schedule.build(params, steps, epochs)
    check(built, epochs, steps, warmup, lambda step: initial * rate ** (step / steps / every))


@every_warmup
@few
@given(runs, rates, st.floats(0.0, 1.0))
def test_cosine(warmup, run, initial, share):
    steps, epochs = run
    final = initial * share
    built = schedule.build(Cosine(kind="cosine", initial=initial, final=final, warmup_epochs=warmup), steps, epochs)
    half = lambda step: (1 + np.cos(np.pi * min(1.0, step / (epochs * steps)))) / 2  # noqa: E731 -- shorter than its def
    check(built, epochs, steps, warmup, lambda step: final + (initial - final) * half(step))


@every_warmup
@few
@given(runs, st.lists(st.tuples(rates, st.floats(0.3, 6.0)), min_size=1, max_size=3), rates)
def test_piecewise(warmup, run, pieces, last):
    steps, epochs = run
    values, lengths = zip(*pieces, strict=True)
    boundaries = tuple(np.cumsum(lengths).tolist())  # epochs
    params = Piecewise(kind="piecewise", boundaries=boundaries, values=(*values, last), warmup_epochs=warmup)
    built = schedule.build(params, steps, epochs)
    starts = [round(boundary * steps) for boundary in boundaries]
    check(built, epochs, steps, warmup, lambda step: params.values[np.searchsorted(starts, step, side="right")])


ONE_OF_EACH = [
    Exponential(kind="exponential", initial=0.1, rate=0.5, every_epochs=1.0, warmup_epochs=0.5),
    Cosine(kind="cosine", initial=0.1, final=0.01, warmup_epochs=0.5),
    Piecewise(kind="piecewise", boundaries=(1.0, 2.5), values=(0.1, 0.04, 0.01), warmup_epochs=0.5),
]


def updates(params, start: int, stop: int) -> list[float]:
    """Return by how much each step, from `start` on, reduces a weight whose gradient is 1."""
    optimizer = keras.optimizers.SGD(schedule.build(params, 4, 3))
    weight = keras.Variable([0.0])
    optimizer.build([weight])
    optimizer.iterations.assign(start)
    taken = []
    for _ in range(start, stop):
        weight.assign([0.0])
        optimizer.apply([keras.ops.ones(1)], [weight])
        taken.append(-float(weight.numpy()[0]))
    return taken


@pytest.mark.parametrize("params", ONE_OF_EACH, ids=lambda params: params.kind)
def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(params):
    whole = updates(params, 0, 12)
    assert len(set(whole)) > 3
    assert whole == pytest.approx([float(schedule.build(params, 4, 3)(step)) for step in range(12)])
    for start in (1, 2, 5, 11):  # within and after the warm-up
        assert updates(params, start, 12) == whole[start:]


def test_the_optimizer_follows_it():
    params = Exponential(kind="exponential", initial=0.1, rate=0.5, every_epochs=1.0, warmup_epochs=1.0)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(schedule.build(params, 4, 3)), "mse", run_eagerly=True)
    model.fit(np.ones((8, 2)), np.ones(8), batch_size=2, verbose=0)  # an epoch of 4 steps
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1 * 0.5)


@pytest.mark.parametrize("params", ONE_OF_EACH, ids=lambda params: params.kind)
def test_a_schedule_survives_being_saved(params):
    built = schedule.ByBatch(schedule.build(params, 4, 3), 2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(built))
    assert [float(again(step)) for step in range(24)] == [float(built(step)) for step in range(24)]
