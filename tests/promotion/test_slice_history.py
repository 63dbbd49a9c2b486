import pandas as pd
import pytest

from pipeline.evaluation import reviewed, slice_plots, slices
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evaluation.recall import wilson
from pipeline.evidence.document import Document
from pipeline.promotion import model_card, slice_history
from tests.support.pictures import sha
from tests.support.versions import NAMES, document, predictions

OWN = LabelMatch.own(NAMES, ("porn",))


def version(missed: int, withheld: int, cases: dict[str, str]) -> Document:
    """20 porn and 20 neutral pictures tagged night, of which so many are wrong; and cases of the slice `red light`."""
    frame = predictions({"porn": missed, "neutral": withheld}, each=20)
    tagged = frame[frame["label"] != "drawings"]["sha256"]
    member = pd.DataFrame({"sha256": tagged, "family": "tag", "slice": "night"})
    answers = frame[[f"p_{name}" for name in NAMES]].to_numpy().argmax(axis=1)
    judged = pd.DataFrame({"sha256": frame["sha256"], "label": frame["label"], "said": [NAMES[i] for i in answers]})
    rows = slices.measure(judged, member, NAMES, ("porn",), 0.95)
    reports = pd.DataFrame({"sha256": [sha(name) for name in cases], "expected_label": "neutral"})
    reports = reports.assign(slice="red light", ticket="T", reported_at="").astype("str")
    answered = [[sha(name), "regression", "neutral", *(0.9 * (answer == each) for each in NAMES)]
                for name, answer in cases.items()]  # fmt: skip
    both = pd.concat([frame, pd.DataFrame(answered, columns=frame.columns)]) if cases else frame
    section = reviewed.regression(reports, both, OWN, 0.95)
    made = document(frame, "a" * 64, reports=section, slices={"rows": rows, "gap": None, "min_slice": 20})
    form = {"recall": dict.fromkeys(NAMES, 0.9), "macro_recall": 0.9}
    made["robustness"] |= {"plain": form | {"unsafe_recall": 0.9, "unsafe_recall_interval": [0.8, 0.95]}}
    made["bootstrap"] |= {name: dict.fromkeys(NAMES) for name in ("recall", "precision")}
    return Document.read(made)


@pytest.fixture
def rows():
    earlier = version(8, 10, {})
    later = version(2, 1, {"a": "porn", "b": "neutral", "c": "neutral"})
    return slice_history.collect([("3", earlier), ("this", later)])


def test_a_bias_is_a_number_over_versions_with_its_interval(rows):
    night = [row for row in rows if row["slice"] == "night"]
    assert [row["version"] for row in night] == ["3", "this"]
    assert [row["unsafe_recall"] for row in night] == [0.6, 0.9]
    assert [row["false_positive_rate"] for row in night] == [0.5, 0.05]
    assert night[1]["false_positive_rate_interval"] == tuple(wilson(1, 20, 0.95))
    red = [row for row in rows if row["slice"] == "red light"]
    assert [(row["family"], row["pictures"]) for row in red] == [("reported", 0), ("reported", 3)]
    assert [row["false_positive_rate"] for row in red] == [None, pytest.approx(1 / 3)]
    assert rows[0]["slice"] == "night"  # the most pictures first


def test_metrics_have_the_version_as_their_step(rows):
    numbered = [row | {"version": "4"} if row["version"] == "this" else row for row in rows]
    values = {(name, step): value for name, value, step in slice_history.metrics(numbered)}
    assert values["slice/tag/night/unsafe_recall", 3] == 0.6
    assert values["slice/tag/night/false_positive_rate", 4] == 0.05
    assert values["slice/tag/night/false_positive_rate_high", 4] == wilson(1, 20, 0.95)[1]
    assert ("slice/reported/red light/false_positive_rate", 3) not in values
    assert {step for _, _, step in slice_history.metrics(rows)} == {3}


def test_the_card_tells_it(rows):
    later = version(2, 1, {})
    text = model_card.render(later, {"over_versions": rows})
    line = next(line for line in text.splitlines() if line.startswith("| tag: night | this"))
    assert "| 20 | 90.0 % |" in line
    assert "| 40 | 5.0 % |" in line
    assert "Slices that people named" not in model_card.render(later, {"over_versions": []})


def test_a_plot_has_a_line_for_each_slice(rows):
    figure = slice_plots.over_versions_figure(rows, title="by slice")
    recall, false_positives = figure.axes
    labels = [container.get_label() for container in recall.containers]
    assert labels == ["tag: night", "reported: red light"]
    assert len(false_positives.containers) == 2
    hostile = [row | {"slice": "$\\frac{" + "x" * 200} for row in rows]
    slice_plots.over_versions_figure(hostile, title="t").canvas.draw()


def test_versions_and_slices_are_bounded():
    many = version(1, 1, {})
    assert {row["version"] for row in slice_history.collect([(str(n), many) for n in range(30)])} == {
        str(n) for n in range(22, 30)
    }
    assert slice_history.collect([]) == []
