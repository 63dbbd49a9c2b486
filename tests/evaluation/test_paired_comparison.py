import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.paired_comparison import differences

NAMES, UNSAFE = ("neutral", "porn", "sexy"), ("porn", "sexy")
RESAMPLES = 400


def certain(predicted: np.ndarray) -> np.ndarray:
    """Probabilities (n, 3) of a model that predicts these classes."""
    return np.eye(3)[predicted]


def compare(before, after, labels, *, resamples=RESAMPLES, seed=1, unsafe=UNSAFE):
    return differences(certain(before), certain(after), labels, NAMES, unsafe, resamples=resamples, seed=seed)


def two_models(rng: np.random.Generator, sizes=(60, 40, 30), right=(0.85, 0.8)):
    """Two models' predictions and the labels; both err on the same pictures more often than by chance."""
    labels = np.repeat(np.arange(3), sizes)
    hard = rng.random(labels.size)
    predicted = []
    for share in right:
        wrong = 0.7 * hard + 0.3 * rng.random(labels.size) > share
        predicted.append(np.where(wrong, (labels + rng.integers(1, 3, labels.size)) % 3, labels))
    return predicted[0], predicted[1], labels


@st.composite
def answers(draw):
    """Two models' predictions of 1 to 40 pictures, and the labels."""
    size = draw(st.integers(1, 40))
    column = st.lists(st.integers(0, 2), min_size=size, max_size=size).map(np.array)
    return draw(column), draw(column), draw(column)


def test_it_is_what_drawing_pictures_gives(rng):
    """Compare the multinomial of won, lost and alike with pictures drawn one by one with both predictions, by class."""
    before, after, labels = two_models(rng)
    unsafe = labels > 0
    drawn = {"recall/porn": [], "macro_recall": [], "unsafe_recall": []}
    for _ in range(3000):
        rows = np.concatenate([rng.choice(np.flatnonzero(labels == c), (labels == c).sum()) for c in range(3)])
        gain = (after[rows] == labels[rows]).astype(float) - (before[rows] == labels[rows])
        by_class = [gain[labels[rows] == c].mean() for c in range(3)]
        drawn["recall/porn"].append(by_class[1])
        drawn["macro_recall"].append(np.mean(by_class))
        held = unsafe[rows]
        drawn["unsafe_recall"].append(((after[rows] > 0).astype(float) - (before[rows] > 0))[held].mean())
    ours = compare(before, after, labels, resamples=3000)
    for name, draws in drawn.items():
        assert ours[name].draws.mean() == pytest.approx(np.mean(draws), abs=0.005), name
        assert ours[name].draws.std() == pytest.approx(np.std(draws), rel=0.1), name
        low, high = np.quantile(draws, [0.025, 0.975])
        assert ours[name].interval(0.95) == pytest.approx([low, high], abs=0.02), name
        assert ours[name].risk(0.02) == pytest.approx(np.mean(np.array(draws) < -0.02 - 1e-12), abs=0.05), name


def test_before_and_after_are_the_recalls(rng):
    before, after, labels = two_models(rng)
    ours = compare(before, after, labels)
    for i, name in enumerate(NAMES):
        rows = labels == i
        each = ours[f"recall/{name}"]
        assert (each.before, each.after) == ((before[rows] == i).mean(), (after[rows] == i).mean())
        assert each.pictures == rows.sum()
    held = labels > 0
    assert ours["unsafe_recall"].before == pytest.approx((before[held] > 0).mean())
    assert ours["unsafe_recall"].after == pytest.approx((after[held] > 0).mean())
    assert ours["unsafe_recall"].pictures == held.sum()


@settings(max_examples=50)
@given(answers())
def test_a_model_differs_not_from_itself(made):
    predicted, _, labels = made
    for each in compare(predicted, predicted, labels).values():
        assert each.change == 0
        assert each.interval(0.95) == [0.0, 0.0]
        assert each.risk(0.0) == 0


@settings(max_examples=50)
@given(answers())
def test_the_other_way_round_is_the_negative(made):
    """The change is exactly the negative; of the draws the distribution is, so the mean of many is nearly."""
    before, after, labels = made
    there, back = compare(before, after, labels, resamples=4000), compare(after, before, labels, resamples=4000)
    assert there.keys() == back.keys()
    for name, each in there.items():
        assert (each.before, each.after) == (back[name].after, back[name].before)
        assert each.change == pytest.approx(-back[name].change)
        noise = 6 * (each.draws.std() + 1e-9) / np.sqrt(4000)
        assert each.draws.mean() == pytest.approx(-back[name].draws.mean(), abs=2 * noise)


@settings(max_examples=50)
@given(answers())
def test_macro_is_the_mean_of_the_classes_that_have_pictures_draw_by_draw(made):
    before, after, labels = made
    ours = compare(before, after, labels)
    classes = [each for name, each in ours.items() if name.startswith("recall/")]
    assert len(classes) == len(set(labels))
    macro = ours["macro_recall"]
    assert macro.change == pytest.approx(np.mean([each.change for each in classes]))
    assert macro.draws == pytest.approx(np.mean([each.draws for each in classes], axis=0))
    assert macro.pictures == labels.size


@settings(max_examples=50)
@given(answers(), st.floats(0, 1), st.floats(0, 1))
def test_risk_falls_with_what_is_tolerated_and_the_interval_holds_the_middle(made, one, other):
    for each in compare(*made).values():
        assert 0 <= each.risk(max(one, other)) <= each.risk(min(one, other)) <= 1
        low, high = each.interval(0.95)
        assert low <= np.median(each.draws) <= high


def test_unsafe_called_another_unsafe_class_is_caught():
    labels = np.array([1, 1, 2, 2])
    ours = compare(labels, np.array([2, 2, 1, 1]), labels)
    assert ours["unsafe_recall"].change == 0
    assert ours["unsafe_recall"].risk(0.0) == 0
    assert ours["recall/porn"].change == -1
    assert ours["macro_recall"].change == -1


def test_without_unsafe_pictures_there_is_no_unsafe_recall():
    predicted = np.zeros(5, int)
    assert set(compare(predicted, predicted, predicted)) == {"recall/neutral", "macro_recall"}
    assert "unsafe_recall" not in compare(predicted, predicted, predicted, unsafe=())


def test_the_seed_decides(rng):
    before, after, labels = two_models(rng)
    one, same, other = (compare(before, after, labels, seed=seed) for seed in (1, 1, 2))
    for name, each in one.items():
        assert (each.draws == same[name].draws).all()
        assert (each.draws != other[name].draws).any()
        assert len(each.draws) == RESAMPLES


def test_a_fall_by_just_what_is_tolerated_is_no_risk():
    """0.1 in floating point, 90 -> 80 of 100, is not more than 0.1."""
    labels = np.zeros(100, int)
    before, after = np.ones(100, int), np.ones(100, int)
    before[:90] = 0
    after[:80] = 0
    each = compare(before, after, labels, resamples=1)["recall/neutral"]
    exact = type(each)(each.before, each.after, 100, np.array([each.change]))
    assert exact.risk(0.1) == 0
    assert exact.risk(0.0999) == 1


@pytest.mark.parametrize(
    ("before", "after", "labels"),
    [((4, 3), (5, 3), 4), ((4, 2), (4, 2), 4), ((4, 3), (4, 3), 5), ((0, 3), (0, 3), 0)],
)
def test_shapes_that_do_not_fit(before, after, labels):
    with pytest.raises(ValueError, match="predictions"):
        differences(np.zeros(before), np.zeros(after), np.zeros(labels, int), NAMES, UNSAFE, resamples=10, seed=1)


def test_the_interval_holds_the_true_change_as_often_as_it_says(rng):
    """90 % intervals over 300 draws of test sets: a binomial of 300 x 0.9 is within 5 standard deviations, 0.087."""
    held = {"macro_recall": 0, "unsafe_recall": 0}
    before, after, labels = two_models(np.random.default_rng(7), sizes=(4000, 4000, 4000))
    true = {name: each.change for name, each in compare(before, after, labels, resamples=1).items()}
    strata = [np.flatnonzero(labels == i) for i in range(3)]
    for seed in range(300):
        rows = np.concatenate([rng.choice(stratum, 80, replace=False) for stratum in strata])
        ours = compare(before[rows], after[rows], labels[rows], seed=seed)
        for name in held:
            low, high = ours[name].interval(0.9)
            held[name] += low - 1e-9 <= true[name] <= high + 1e-9
    for name, times in held.items():
        assert times / 300 == pytest.approx(0.9, abs=0.087), name


def test_classes_that_one_model_does_not_know_are_judged_as_unsafe_or_safe_alone(rng):
    before, after, labels = two_models(rng)
    every = compare(before, after, labels)
    args = certain(before), certain(after), labels, NAMES, UNSAFE
    part = differences(*args, resamples=RESAMPLES, seed=1, known=("neutral", "sexy"))
    assert set(part) == {"recall/neutral", "recall/sexy", "macro_recall", "unsafe_recall"}
    assert part["unsafe_recall"].before == every["unsafe_recall"].before
    assert part["recall/sexy"].after == every["recall/sexy"].after
    assert part["macro_recall"].before == pytest.approx(
        (every["recall/neutral"].before + every["recall/sexy"].before) / 2
    )
    assert set(differences(*args, resamples=RESAMPLES, seed=1, known=())) == {"unsafe_recall"}
