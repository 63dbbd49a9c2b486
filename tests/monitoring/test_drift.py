"""What is planted is found, what is not is not: over many draws."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.monitoring import drift
from pipeline.monitoring.monitor import by_folder
from pipeline.monitoring.scores import read
from pipeline.params.monitor import Monitor
from tests.support.score_tables import probabilities, scores, table, write

pytestmark = pytest.mark.untraced

LIMITS = Monitor(alpha=0.01, min_psi=0.1, min_shift=0.02, min_pictures=100)


def drifted(reference, window, slices=None) -> list[tuple[str, str]]:
    rows = drift.judge(drift.compare(read(reference), read(window), LIMITS, slices), LIMITS)
    return [(row.slice, row.figure) for row in rows if row.drifted]


@pytest.mark.parametrize("number", [150, 2000])
def test_where_nothing_has_changed_twenty_draws_give_no_alarm(tmp_path, number):
    alarms = [
        drifted(
            scores(tmp_path / "a.parquet", number, 2 * seed, unreadable={"broken": number // 50}),
            scores(tmp_path / "b.parquet", number, 2 * seed + 1, unreadable={"broken": number // 50}),
        )
        for seed in range(20)
    ]
    assert sum(map(bool, alarms)) <= 1


def test_another_class_mix_is_drift(tmp_path):
    before = scores(tmp_path / "a.parquet", 1000, 1)
    after = scores(tmp_path / "b.parquet", 1000, 2, mix=(0.3, 0.4, 0.3))
    names = {figure for _, figure in drifted(before, after)}
    assert {drift.CLASSES, drift.DECISIONS, drift.SCORE, "score porn"} <= names


def test_scores_that_are_less_sure_are_drift_though_the_classes_stay(tmp_path):
    before = scores(tmp_path / "a.parquet", 1000, 1)
    answers, _ = probabilities(1000, 2, sharpness=2.0)
    after = write(table(answers, 2), tmp_path / "b.parquet")
    names = {figure for _, figure in drifted(before, after)}
    assert {"score drawings", "score neutral"} <= names
    assert drift.UNREADABLE not in names


def test_more_broken_files_are_drift(tmp_path):
    before = scores(tmp_path / "a.parquet", 1000, 1, unreadable={"broken": 10})
    after = scores(tmp_path / "b.parquet", 1000, 2, unreadable={"broken": 12, "not_a_picture": 200})
    assert drifted(before, after) == [("", drift.UNREADABLE)]


def test_a_difference_that_is_sure_but_small_is_none(tmp_path):
    before = scores(tmp_path / "a.parquet", 60_000, 1)
    after = scores(tmp_path / "b.parquet", 60_000, 2, mix=(0.31, 0.59, 0.1))
    rows = drift.compare(read(before), read(after), LIMITS)
    assert min(row.p for row in rows) < 1e-3
    assert not any(row.drifted for row in drift.judge(rows, LIMITS))


def test_drift_in_one_slice_is_found_there(tmp_path):
    folders = tuple("abcdefgh")
    before = scores(tmp_path / "a.parquet", 4000, 1, folders=folders)
    answers, _ = probabilities(4000, 2)
    answers[3::8] = probabilities(500, 3, mix=(0.2, 0.3, 0.5))[0]
    after = write(table(answers, 2, folders=folders), tmp_path / "b.parquet")
    slices = by_folder([read(before), read(after)])
    names = {name for name, _ in drifted(before, after, slices)}
    assert "d" in names
    assert names <= {"", "d"}


def test_too_few_pictures_are_shown_and_not_judged(tmp_path):
    before = scores(tmp_path / "a.parquet", 1000, 1, folders=("a", "b"))
    after = scores(tmp_path / "b.parquet", 60, 2, mix=(0, 0, 1), folders=("a", "b"))
    rows = drift.judge(drift.compare(read(before), read(after), LIMITS, None), LIMITS)
    assert not any(row.drifted for row in rows)
    assert all(row.p is None and row.psi > 0 for row in rows if row.figure != drift.UNREADABLE)


def test_a_slice_that_one_side_lacks_is_left_out(tmp_path):
    before, after = (scores(tmp_path / f"{name}.parquet", 200, 1 + len(name)) for name in ("a", "bb"))
    known = read(before).scored["sha256"]
    slices = pd.DataFrame({"sha256": known, "slice": "old"})
    assert {row.slice for row in drift.compare(read(before), read(after), LIMITS, slices)} == {""}


def test_without_decisions_there_is_no_rate_of_them(tmp_path):
    frame = table(probabilities(200, 1)[0], 1).assign(decision=None)
    path = write(frame, tmp_path / "a.parquet")
    assert drift.DECISIONS not in {row.figure for row in drift.compare(read(path), read(path), LIMITS)}


counts = st.lists(st.integers(0, 500), min_size=2, max_size=8).filter(sum)


@given(counts, st.data())
def test_the_stability_index_is_zero_for_equal_counts_and_positive_else(before, data):
    after = data.draw(st.lists(st.integers(0, 500), min_size=len(before), max_size=len(before)).filter(sum))
    one, other = np.array(before), np.array(after)
    assert drift.population_stability(one, one) == pytest.approx(0.0, abs=1e-12)
    assert drift.population_stability(one, other) >= -1e-12
    assert drift.population_stability(one, other) == pytest.approx(drift.population_stability(other, one))


def test_the_stability_index_is_the_textbooks():
    before, after = np.array([500_000, 500_000]), np.array([400_000, 600_000])
    wanted = (0.4 - 0.5) * np.log(0.4 / 0.5) + (0.6 - 0.5) * np.log(0.6 / 0.5)
    assert drift.population_stability(before, after) == pytest.approx(wanted, rel=1e-4)
