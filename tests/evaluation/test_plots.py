import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.evaluation.plots import confusion_figure, curves_figure, recall_figure, save
from pipeline.evaluation.recall import summary

NAMES, UNSAFE = ("drawings", "neutral", "porn"), ("porn",)
COUNTS = np.array([[40, 8, 2], [1, 9, 0], [0, 0, 0]])


def report(seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 50)  # never porn
    return summary(rng.dirichlet(np.ones(3), 50), labels, NAMES, UNSAFE, 0.95)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_confusion_shows_counts_row_percent_and_unsafe_marks() -> None:
    figure = confusion_figure(COUNTS, NAMES, unsafe=UNSAFE, title="test")
    axes = figure.axes[0]
    assert texts(figure)[:9] == ["40\n80%", "8\n16%", "2\n4%", "1\n10%", "9\n90%", "0\n0%", "-", "-", "-"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["drawings", "neutral", "porn *"]
    assert [tick.get_fontweight() for tick in axes.get_yticklabels()] == ["normal", "normal", "bold"]
    assert axes.get_title() == "test"


def test_recall_bars_are_the_recalls_and_a_class_without_pictures_has_none() -> None:
    frozen, finetuned = report(0), report(1)
    axes = recall_figure(frozen, finetuned, unsafe=UNSAFE, title="recall").axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    expected = [
        [run["recall"]["drawings"], run["recall"]["neutral"], np.nan, run["macro_recall"]]
        for run in (frozen, finetuned)
    ]
    np.testing.assert_allclose(heights, np.ravel(expected))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["drawings", "neutral", "porn *", "macro"]


def test_curves_draw_what_each_epoch_recorded_and_leave_gaps() -> None:
    epochs = [{"val_loss": 1.0, "val_recall/porn": 0.5}, {"val_loss": 0.5, "loss": 0.4}]
    losses, shares, classes = curves_figure(epochs, NAMES, title="head").axes
    drawn = {line.get_label(): line.get_ydata().tolist() for line in losses.lines}
    np.testing.assert_equal(drawn, {"train": [np.nan, 0.4], "validation": [1.0, 0.5]})
    assert not shares.lines
    assert [line.get_label() for line in classes.lines] == ["porn"]


@pytest.mark.parametrize("name", ["confusion", "recall", "curves"])
def test_saved_figures_are_pngs_with_equal_bytes(tmp_path: Path, name: str) -> None:
    def draw() -> Figure:
        if name == "confusion":
            return confusion_figure(COUNTS, NAMES, unsafe=UNSAFE, title="test")
        if name == "recall":
            return recall_figure(report(0), report(1), unsafe=UNSAFE, title="recall")
        return curves_figure([{"val_loss": 1.0}], NAMES, title="head")

    for run in "ab":
        save(draw(), tmp_path / f"{run}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert set(picture.info) <= {"dpi"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_pyplot_is_never_imported() -> None:
    code = "import sys, pipeline.evaluation.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
