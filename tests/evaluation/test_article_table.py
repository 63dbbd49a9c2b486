import numpy as np
import pytest

from pipeline.evaluation.article_table import COLUMNS, article_markdown, article_table
from pipeline.evaluation.recall import summary

NAMES, UNSAFE = ("neutral", "porn"), ("porn",)


def report(predicted: list[int], labels: list[int]) -> dict[str, object]:
    return summary(np.eye(2)[predicted], np.array(labels), NAMES, UNSAFE, 0.95)


def test_table_sets_the_two_models_and_the_article_side_by_side() -> None:
    table = article_table(report([0, 1, 1, 0], [0, 0, 1, 1]), report([0, 0, 1, 0], [0, 0, 1, 1]))
    assert tuple(table.columns) == COLUMNS
    rows = table.set_index("measure")
    assert list(rows.index) == [
        "accuracy", "macro recall", "recall neutral", "recall porn", "unsafe recall", "unsafe precision",
    ]  # fmt: skip
    assert rows.loc["accuracy"].tolist() == [0.5, 0.75, 0.25, 0.87, 0.91]
    assert rows.loc["recall neutral", ["frozen", "fine_tuned", "difference"]].tolist() == [0.5, 1.0, 0.5]
    assert rows.loc["unsafe precision", ["frozen", "fine_tuned"]].tolist() == [0.5, 1.0]
    assert rows.drop("accuracy")[["article_frozen", "article_fine_tuned"]].isna().all(axis=None)


def test_markdown_shows_percent_signs_of_change_and_blanks() -> None:
    table = article_table(report([0, 0], [0, 0]), report([0, 1], [0, 0]))  # no picture of porn
    lines = article_markdown(table).splitlines()
    assert lines[2] == "| accuracy | 100.0 | 50.0 | -50.0 | 87.0 | 91.0 |"
    assert "| recall porn |  |  |  |  |  |" in lines
    assert "| unsafe precision |  | 0.0 |  |  |  |" in lines
    assert {line.count("|") for line in lines} == {7}


def test_summaries_of_different_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="different classes or pictures"):
        article_table(report([0, 0], [0, 0]), report([0], [0]))
