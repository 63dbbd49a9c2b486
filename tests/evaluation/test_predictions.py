import hashlib

import numpy as np
import pandas as pd

from pipeline.evaluation import predictions as table

NAMES = ("a", "b")


def frame(*order: int) -> pd.DataFrame:
    rows = list(order or range(3))
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    sha256, label = np.array(["p", "q", "r"]), np.array(["a", "b", "a"])
    return table.frame(sha256[rows].tolist(), "test", label[rows].tolist(), probabilities[rows], NAMES)


def test_what_goes_in_comes_out():
    rows = frame()
    assert list(rows.columns) == ["sha256", "split", "label", "p_a", "p_b"]
    probabilities, labels = table.arrays(rows, NAMES)
    assert probabilities.tolist() == [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]
    assert labels.tolist() == [0, 1, 0]
    assert table.arrays(rows, NAMES[::-1])[1].tolist() == [1, 0, 1]
    assert table.predicted_classes(rows, NAMES).tolist() == ["a", "b", "b"]


def test_the_digest_is_of_pictures_and_labels_whatever_their_order():
    expected = hashlib.sha256(b"p\ta\nq\tb\nr\ta\n").hexdigest()
    assert table.digest(frame()) == table.digest(frame(2, 0, 1)) == expected
    assert table.digest(frame().assign(label="a")) != expected
    assert table.digest(frame(0, 1)) != expected
