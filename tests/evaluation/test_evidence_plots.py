import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import precision_score, recall_score

from pipeline.evaluation import calibration, evidence_plots, plots

NAMES, UNSAFE = ("drawings", "porn", "sexy"), ("porn", "sexy")


@pytest.fixture
def judged(rng) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, 3, 120)
    odds = np.exp(rng.normal(size=(120, 3)) + 1.5 * np.eye(3)[labels])
    return odds / odds.sum(axis=1, keepdims=True), labels


def test_every_corner_is_what_its_threshold_gives(judged):
    probabilities, labels = judged
    curves = evidence_plots.precision_recall(probabilities, labels, NAMES, UNSAFE)
    assert list(curves["curve"].unique()) == ["unsafe", *NAMES]
    for row in curves[curves["curve"] == "unsafe"].itertuples():
        called = probabilities[:, 1:].sum(axis=1) >= row.threshold
        assert row.recall == pytest.approx(recall_score(labels > 0, called))
        assert row.precision == pytest.approx(precision_score(labels > 0, called))


def test_a_class_without_pictures_has_no_curve(judged):
    probabilities, labels = judged
    present = labels != 2
    curves = evidence_plots.precision_recall(probabilities[present], labels[present], NAMES, UNSAFE)
    assert list(curves["curve"].unique()) == ["unsafe", "drawings", "porn"]
    assert evidence_plots.precision_recall(probabilities[:0], labels[:0], NAMES, UNSAFE).empty


def test_pictures_are_drawn_and_equal_input_gives_equal_bytes(judged, tmp_path):
    curves = evidence_plots.precision_recall(*judged, NAMES, UNSAFE)
    report = calibration.report(*judged, 1.4)
    for name in ("a", "b"):
        plots.save(evidence_plots.precision_recall_figure(curves, title="t"), tmp_path / f"{name}.pr.png")
        plots.save(evidence_plots.reliability_figure(report, title="t"), tmp_path / f"{name}.reliability.png")
    for kind in ("pr", "reliability"):
        assert (tmp_path / f"a.{kind}.png").read_bytes() == (tmp_path / f"b.{kind}.png").read_bytes()
        with Image.open(tmp_path / f"a.{kind}.png") as image:
            assert min(image.size) > 400


def test_no_curve_and_no_picture_are_drawn_too(tmp_path, judged):
    empty = evidence_plots.precision_recall(judged[0][:0], judged[1][:0], NAMES, UNSAFE)
    plots.save(evidence_plots.precision_recall_figure(empty, title="t"), tmp_path / "pr.png")
    nothing = {"bins": {when: [{"low": 0, "high": 1, "pictures": 0, "confidence": None, "accuracy": None}]
                        for when in ("before", "after")}, "ece_before": None, "ece_after": None}  # fmt: skip
    plots.save(evidence_plots.reliability_figure(nothing, title="t"), tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").stat().st_size > 1000
