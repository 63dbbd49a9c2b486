import time

import numpy as np
import pytest

from pipeline.evaluation import speed


def test_a_slow_model_is_as_slow_as_it_is():
    batches = []

    def score(pictures: np.ndarray) -> np.ndarray:
        batches.append(pictures)
        time.sleep(0.004 if len(pictures) == 1 else 0.016)
        return np.zeros((len(pictures), 2))

    figures = speed.measure(score, 8, 12)
    assert 4 <= figures["p50_ms"] <= figures["p95_ms"]
    assert figures["p50_ms"] < 40
    assert figures["pictures_per_second"] == pytest.approx(32 / 0.016, rel=0.6)
    assert {pictures.shape for pictures in batches} == {(1, 8, 8, 3), (32, 8, 8, 3)}
    assert {str(pictures.dtype) for pictures in batches} == {"uint8"}
    assert sum(len(pictures) == 1 for pictures in batches) == 12 + 3


def test_one_round_is_enough():
    figures = speed.measure(lambda pictures: np.zeros((len(pictures), 2)), 8, 1)
    assert figures["p50_ms"] == figures["p95_ms"] >= 0
