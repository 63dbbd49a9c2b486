import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import UserError
from pipeline.monitoring import audit_sample
from pipeline.monitoring.scores import read
from tests.support.score_tables import LABELS, THRESHOLD, probabilities, table, write

UNSAFE = ("porn",)
RARE = (0.25, 0.73, 0.02)  # one in fifty is unsafe, as in traffic


def window(tmp_path, number: int, seed: int):
    """A window, and each picture's true class by its sha256."""
    answers, true = probabilities(number, seed, RARE)
    frame = table(answers, seed)
    frame.loc[0, "path"] = "=1+1.jpg"
    return read(write(frame, tmp_path / f"{seed}.parquet")), pd.Series([LABELS[one] for one in true], frame["sha256"])


def labelled(sample: pd.DataFrame, true: pd.Series, tmp_path, **edits):
    path = tmp_path / "audit_sample.csv"
    audit_sample.write(sample.assign(label=true[sample["sha256"]].to_numpy(), **edits), path)
    return audit_sample.read(path, LABELS, UNSAFE)


def truth(one, true: pd.Series) -> tuple[float, float]:
    scored = one.scored.set_index("sha256")
    flagged, unsafe = scored["unsafe"] >= THRESHOLD, true[scored.index] == "porn"
    return (flagged & unsafe).sum() / unsafe.sum(), (flagged & unsafe).sum() / flagged.sum()


def test_intervals_hold_the_truth_and_are_narrower_than_those_of_a_plain_sample(tmp_path):
    inside, widths, plain = [], [], []
    for seed in range(30):
        one, true = window(tmp_path, 6000, seed)
        sample = audit_sample.draw([one], 400, seed)
        audited = audit_sample.estimate(labelled(sample, true, tmp_path), confidence=0.95, seed=1)
        assert (audited.sampled, audited.labelled, audited.pictures) == (len(sample), len(sample), 6000)
        recall, precision = truth(one, true)
        for wanted, estimate in ((recall, audited.recall), (precision, audited.precision)):
            low, high = estimate.interval
            inside.append(low <= wanted <= high)
        widths.append(audited.recall.interval[1] - audited.recall.interval[0])
        few = (true.sample(400, random_state=seed) == "porn").sum()
        plain.append(2 * 1.96 * np.sqrt(recall * (1 - recall) / max(1, few)))
    assert np.mean(inside) >= 0.9
    assert np.median(widths) < 0.8 * np.median(plain)


def test_a_sample_has_no_picture_twice_and_is_the_same_for_the_same_seed(tmp_path):
    one, _ = window(tmp_path, 2000, 1)
    sample = audit_sample.draw([one, one], 200, 5)
    assert sample["sha256"].is_unique
    assert 150 <= len(sample) <= 260
    pd.testing.assert_frame_equal(sample, audit_sample.draw([one, one], 200, 5))
    sizes = sample.groupby("stratum")["stratum_pictures"].first()
    assert sizes.sum() == 2000
    assert set(sample["decision"]) == {"safe", "unsafe"}


def test_small_windows_are_drawn_whole(tmp_path):
    one, true = window(tmp_path, 60, 2)
    sample = audit_sample.draw([one], 1000, 1)
    assert len(sample) == 60
    audited = audit_sample.estimate(labelled(sample, true, tmp_path), confidence=0.9, seed=1)
    recall, _ = truth(one, true) if (true == "porn").any() else (None, None)
    assert audited.recall.value == (None if recall is None else pytest.approx(recall))


def test_names_that_a_spreadsheet_would_run_are_written_as_text(tmp_path):
    one, true = window(tmp_path, 60, 3)
    labelled(audit_sample.draw([one], 1000, 1), true, tmp_path)
    assert ",'=1+1.jpg," in (tmp_path / "audit_sample.csv").read_text()


def test_unsure_and_empty_labels_count_as_not_looked_at(tmp_path):
    one, true = window(tmp_path, 500, 4)
    sample = audit_sample.draw([one], 100, 1)
    rows = labelled(sample, true, tmp_path)
    some = rows.groupby("stratum").cumcount() >= 2
    audit_sample.write(
        sample.assign(label=np.where(some, "unsure", true[sample["sha256"]])), tmp_path / "audit_sample.csv"
    )
    audited = audit_sample.estimate(
        audit_sample.read(tmp_path / "audit_sample.csv", LABELS, UNSAFE), confidence=0.95, seed=1
    )
    assert audited.labelled == (~some).sum() < audited.sampled
    assert "sampled pictures are labelled; they stand for 500" in audited.lines()[0]


def test_nothing_labelled_and_wrong_labels_are_named(tmp_path):
    one, _ = window(tmp_path, 500, 5)
    sample = audit_sample.draw([one], 100, 1)
    audit_sample.write(sample, tmp_path / "a.csv")
    with pytest.raises(UserError, match="label at least one of each stratum"):
        audit_sample.estimate(audit_sample.read(tmp_path / "a.csv", LABELS, UNSAFE), confidence=0.95, seed=1)
    audit_sample.write(sample.assign(label="cat"), tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"line 2.*must be drawings, neutral, porn, safe, unsafe, unsure, or empty"):
        audit_sample.read(tmp_path / "a.csv", LABELS, UNSAFE)
    undecided = read(write(table(probabilities(50, 1)[0], 1).assign(decision=None), tmp_path / "u.parquet"))
    with pytest.raises(UserError, match="no threshold"):
        audit_sample.draw([undecided], 50, 1)
