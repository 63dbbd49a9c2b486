"""The report of `nsfw tune`."""

from typing import Any

import pytest

from pipeline.tuning import report


def collected(changes: list[str]) -> dict[str, Any]:
    best = {"trial": 1, "state": "COMPLETE", "values": [0.7], "params": {"train.l2": 0.001}, "metrics": {}}
    return {
        "study": "mine",
        "trials": {"asked": 6, "finished": 6, "pruned": 1, "running": 0},
        "objectives": ["macro_recall"],
        "first": best | {"trial": 0, "state": "PRUNED", "values": [0.2]},
        "best": best,
        "changes": changes,
        "rungs": [{"trials": 6, "epochs": 3, "subset": 0.25, "finished": 6, "cost": 0.05, "agreement": None}],
        "front": [],
        "mlflow": {"uri": "sqlite:///mlflow.db", "run": "abc"},
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["train.l2"], "next: nsfw tune --study mine --trials 6 --write "),  # not on to tune.trials first
        ([], "next: nsfw tune --study mine --trials 12   (nothing is better"),
    ],
)
def test_the_next_step_is_one_that_helps(changes, words):
    lines = report.describe(collected(changes))
    assert lines[0] == "study mine: 6 of 6 trials finished, 1 pruned"
    assert "first trial (the article's values): macro_recall 0.2000 (pruned)" in lines
    assert lines[-1].startswith(words)


def test_rungs_are_described_with_their_cost_and_agreement():
    results = collected([])
    (first,) = results["rungs"]
    first["agreement"] = {"trials": 5, "spearman": 0.7}
    results["rungs"] += [{"trials": 5, "epochs": 15, "subset": 1.0, "finished": 5, "cost": 1.0, "agreement": None}]
    lines = report.describe(results)
    assert lines[1].startswith("rung 1: 6 trials, 3 epochs on 25 % of train, each 5 % of a training in full; ")
    assert lines[1].endswith("Spearman with the next rung 0.70 over 5")
    assert lines[2] == "rung 2: 5 trials, 15 epochs on 100 % of train, each 100 % of a training in full"
