import time

import numpy as np
import pytest

from pipeline.evaluation import speed


def test_a_slow_model_is_as_slow_as_it_is():
    asked = []

    def score(pictures: np.ndarray) -> np.ndarray:
        asked.append(pictures)
        time.sleep(0.004 if len(pictures) == 1 else 0.016)
        return np.zeros((len(pictures), 2))

    found = speed.measure(score, 8, 12)
    assert 4 <= found["p50_ms"] <= found["p95_ms"]
    assert found["p50_ms"] < 40
    assert found["pictures_per_second"] == pytest.approx(32 / 0.016, rel=0.6)
    assert {pictures.shape for pictures in asked} == {(1, 8, 8, 3), (32, 8, 8, 3)}
    assert {str(pictures.dtype) for pictures in asked} == {"uint8"}
    assert sum(len(pictures) == 1 for pictures in asked) == 12 + 3


def test_one_round_is_enough():
    found = speed.measure(lambda pictures: np.zeros((len(pictures), 2)), 8, 1)
    assert found["p50_ms"] == found["p95_ms"] >= 0
