import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import label_quality
from tests.support.embeddings import in_memory


def clouds(each: int = 40, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of classes that lie in directions of their own, and the labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return np.eye(classes)[labels].repeat(4, axis=1) + rng.normal(0, 0.1, (len(labels), 4 * classes)), labels


def test_a_wrong_label_has_no_support_among_its_neighbours():
    features, labels = clouds()
    given_labels = labels.copy()
    given_labels[[3, 50]] = 2, 0
    nearest, _ = label_quality.neighbours(in_memory(features), np.arange(len(labels)))
    support = label_quality.agreement(nearest, given_labels)
    assert support[3] == support[50] == 0
    assert np.delete(support, [3, 50]).min() > 0.7


def test_near_copies_are_no_neighbours_and_none_is_its_own():
    features, labels = clouds()
    doubled, groups = np.concatenate([features, features]), np.tile(np.arange(len(labels)), 2)
    nearest, distance = label_quality.neighbours(in_memory(doubled), groups)
    assert nearest.shape == (240, label_quality.NEIGHBOURS)
    assert (groups[nearest] != groups[:, None]).all()
    assert (distance > 0).all()


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 100))
def test_few_pictures_have_as_many_neighbours_as_there_are(pictures, groups, seed):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, pictures)
    nearest, distance = label_quality.neighbours(in_memory(rng.normal(size=(pictures, 5))), group)
    others = np.array([(group != own).sum() for own in group])
    assert ((nearest >= 0).sum(axis=1) == np.minimum(others, label_quality.NEIGHBOURS)).all()
    assert np.isfinite(distance).all()
    support = label_quality.agreement(nearest, np.zeros(pictures, int))
    assert (support == (others > 0)).all()


def test_of_many_pictures_a_drawn_part_is_searched():
    features, labels = clouds(each=200)
    groups = np.arange(len(labels))
    nearest, distance = label_quality.neighbours(in_memory(features), groups, references=90)
    assert len(np.unique(nearest)) <= 90
    assert (nearest != groups[:, None]).all()
    assert (label_quality.agreement(nearest, labels) == 1).all()
    assert np.isfinite(distance).all()
    np.testing.assert_array_equal(nearest, label_quality.neighbours(in_memory(features), groups, references=90)[0])


def test_kinds_of_contradicted_labels():
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.45, 0.55], [0.1, 0.9]])
    distance = np.array([0.1, 0.12, 0.11, 0.9])
    assert label_quality.kinds(np.array([0, 0, 0, 0]), probabilities, distance) == ["", "wrong", "ambiguous", "outlier"]
    assert label_quality.kinds(np.array([0, 0, 0, 0]), probabilities, np.full(4, 0.5))[3] == "wrong"


def test_noise_is_counted_by_group_with_its_interval():
    wrong = np.array([True, False, False, False, True, False])
    groups = [("all", pd.Series(["all"] * 6)), ("source", pd.Series(list("aaabbb")))]
    table = label_quality.noise(groups, wrong, 0.95)
    assert table[["by", "name", "pictures", "flagged"]].to_numpy().tolist() == [
        ["all", "all", 6, 2], ["source", "a", 3, 1], ["source", "b", 3, 1],
    ]  # fmt: skip
    assert ((table["low"] < table["share"]) & (table["share"] < table["high"])).all()


def test_confident_learning_flags_the_flips():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 600)
    probabilities = np.full((600, 3), 0.05)
    probabilities[np.arange(600), truth] = 0.9
    labels = truth.copy()
    labels[:30] = (truth[:30] + 1) % 3
    assert label_quality.flagged(labels, probabilities).nonzero()[0].tolist() == list(range(30))
