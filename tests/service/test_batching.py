import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.service.batching import Batcher
from tests.support.http_fakes import Model


def square(brightness: int) -> np.ndarray:
    return np.full((8, 8, 3), brightness, np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=60), st.integers(1, 9), st.integers(0, 59))
def test_each_gets_its_own_answer_from_its_own_model_and_no_batch_is_too_large(values, size, turn):
    models = Model("1"), Model("2")
    batcher = Batcher(size=size, max_delay=0.001)
    submitted = [
        (models[i >= turn], value, batcher.submit(models[i >= turn], square(value))) for i, value in enumerate(values)
    ]
    for _, value, future in submitted:
        assert round(future.result(5).unsafe * 255) == value
    batcher.close()
    for model in models:
        assert sum(model.batches) == sum(one is model for one, *_ in submitted)
        assert max(model.batches, default=0) <= size


def test_what_comes_while_a_batch_is_scored_goes_together():
    model = Model(seconds=0.2)
    batcher = Batcher(size=4, max_delay=0.0)
    first = batcher.submit(model, square(1))
    time.sleep(0.1)
    wait([first, *[batcher.submit(model, square(2)) for _ in range(6)]])
    assert model.batches == [1, 4, 2]
    batcher.close()


def test_a_batch_waits_for_those_on_their_way_and_for_nobody_else():
    arriving = [0]
    model = Model()
    batcher = Batcher(size=4, max_delay=2.0, arriving=lambda: arriving[0])
    begun = time.monotonic()
    batcher.submit(model, square(1)).result(5)
    assert time.monotonic() - begun < 1.0
    arriving[0] = 3
    first = batcher.submit(model, square(1))
    time.sleep(0.05)
    rest = [batcher.submit(model, square(1)) for _ in range(3)]
    wait([first, *rest])
    assert model.batches == [1, 4]
    assert time.monotonic() - begun < 1.8  # full, so it did not wait any longer
    batcher.submit(model, square(1)).result(5)
    assert model.batches == [1, 4, 1]  # no other arrived: it went alone, after max_delay
    batcher.close()


def test_a_batch_that_fails_fails_alone():
    batcher = Batcher(size=2, max_delay=0.0)
    with pytest.raises(ValueError, match="another kind"):
        batcher.submit(Model(bad="raises"), square(1)).result(5)
    assert batcher.submit(Model(), square(255)).result(5).unsafe == 1.0
    batcher.close()


def test_who_has_left_costs_the_network_nothing():
    model, slow = Model(), Model(seconds=0.2)
    batcher = Batcher(size=1, max_delay=0.0)
    batcher.submit(slow, square(1))
    time.sleep(0.05)
    left, stays = batcher.submit(model, square(1)), batcher.submit(model, square(2))
    assert left.cancel()
    stays.result(5)
    assert model.batches == [1]
    batcher.close()


def test_closing_scores_what_waits_and_takes_no_more():
    model = Model(seconds=0.05)
    batcher = Batcher(size=2, max_delay=0.0)
    futures = [batcher.submit(model, square(1)) for _ in range(7)]
    batcher.close()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(model, square(1))


def test_many_threads_lose_nothing():
    seen = []
    batcher = Batcher(
        size=8, max_delay=0.002, on_batch=lambda size, network, waits: seen.append((size, network, len(waits)))
    )
    model, start = Model(), threading.Barrier(8)

    def ask(value):
        start.wait()
        return [round(batcher.submit(model, square(value)).result(5).unsafe * 255) for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [[value] * 25 for value in range(8)]
    batcher.close()
    assert sum(size for size, *_ in seen) == sum(waits for *_, waits in seen) == 200
