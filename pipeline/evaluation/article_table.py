"""The article's table: figures of the frozen backbone, of the fine-tuned one, and their difference.

It takes two results of `pipeline.evaluation.recall.summary` on the same pictures.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

# The article reports one number a model on its own test set, which is no target for other pictures.
ARTICLE_ACCURACY = {"frozen": 0.87, "fine_tuned": 0.91}
COLUMNS = ("measure", "frozen", "fine_tuned", "difference", "article_frozen", "article_fine_tuned")


def article_table(frozen: Mapping[str, Any], finetuned: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a measure with COLUMNS; values are 0..1, NaN if unknown.

    Rows: accuracy, macro recall, recall of each class, unsafe recall, unsafe precision. `difference` is fine-tuned
    minus frozen. The article's columns are filled for accuracy only.

    Raises:
        ValueError: the two summaries are of other classes, or of another number of pictures.

    """
    if list(frozen["recall"]) != list(finetuned["recall"]) or frozen["pictures"] != finetuned["pictures"]:
        raise ValueError("the two summaries are of different classes or pictures")
    left, right = _measures(frozen), _measures(finetuned)
    table = pd.DataFrame({"measure": list(left), "frozen": left.values(), "fine_tuned": right.values()})
    table = table.astype({"frozen": "float64", "fine_tuned": "float64"})
    accuracy = table["measure"].eq("accuracy")
    return table.assign(
        difference=table["fine_tuned"] - table["frozen"],
        article_frozen=accuracy.map({True: ARTICLE_ACCURACY["frozen"]}),
        article_fine_tuned=accuracy.map({True: ARTICLE_ACCURACY["fine_tuned"]}),
    )


def article_markdown(table: pd.DataFrame) -> str:
    """Return `article_table`'s result as a Markdown table, in percent and percentage points."""
    head = "| measure | frozen | fine-tuned | difference | article, frozen | article, fine-tuned |"
    lines = [head, "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for row in table[list(COLUMNS)].itertuples(index=False):
        measure, frozen, finetuned, difference, *article = row
        shares = [_percent(frozen), _percent(finetuned), _percent(difference, sign="+"), *map(_percent, article)]
        lines.append(f"| {measure} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def _measures(report: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        "accuracy": report["accuracy"],
        "macro recall": report["macro_recall"],
        **{f"recall {name}": value for name, value in report["recall"].items()},
        "unsafe recall": report["unsafe"]["recall"],
        "unsafe precision": report["unsafe"]["precision"],
    }


def _percent(value: float, sign: str = "") -> str:
    return "" if pd.isna(value) else f"{100 * value:{sign}.1f}"
