"""What fine-tuning gains over the frozen backbone, by the point from which it unfreezes: the article's 87 against 91 %.

    python benchmarks/unfreezing.py --points block_13 block_6 block_3 all --seeds 1 2 3

Run it in a project folder with its own data. Each cell is a DVC experiment (`dvc exp show` lists them, `dvc exp apply`
brings one back): `dvc exp run -S seed=1 -S finetune.unfreeze=block_6 evaluate`. Prints means over the seeds, in
per cent: macro recall on test, its standard deviation and least gain over frozen, recalls of the classes, macro recall
on validation; a seed changes initial weights, dropout, order and augmentation, never the split. With `--truth` (a csv
of path, true_label; its paths are those of the scrape) also the macro recall by the true labels of the test set.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd


def measured(seed: int, point: str, sets: list[str]) -> dict[str, Any]:
    """Train and evaluate one cell in the current project; return its metrics/evaluate.json."""
    chosen = [f"seed={seed}", f"finetune.unfreeze={point}", *sets]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--quiet", "evaluate"]
    subprocess.run([*command, *(word for text in chosen for word in ("-S", text))], check=True)
    return dict(json.loads(Path("metrics/evaluate.json").read_text()))


def true_labels(truth: Path) -> dict[str, str]:
    """Return sha256 to true label of the project's pictures."""
    sightings = pd.concat(
        pd.read_parquet(path, columns=["sha256", "origin"]) for path in Path("data/sightings").iterdir()
    )
    names = pd.read_csv(truth, keep_default_na=False)
    joined = sightings.merge(names, left_on="origin", right_on="path")
    return dict(zip(joined["sha256"], joined["true_label"], strict=True))


def macro_recall(predictions: pd.DataFrame, labels: "pd.Series[str]") -> float:
    """Return the mean over the classes of the share of their pictures that are called so, in per cent."""
    called = predictions.filter(regex="^p_").idxmax(axis=1).str.removeprefix("p_")
    return float(100 * (called == labels).groupby(labels).mean().mean())


def row(model: str, seed: int, report: dict[str, Any]) -> dict[str, Any]:
    """Return one model's figures of one report, in per cent."""
    recalls = {f"recall {name}": 100 * value for name, value in report["recall"].items()}
    return {"model": model, "seed": seed, "test": 100 * report["macro_recall"], **recalls}


def finetuned(model: str, seed: int, report: dict[str, Any], truth: Path | None) -> dict[str, Any]:
    """Return the fine-tuned model's figures, with those on validation and by true labels."""
    predictions = pd.read_parquet("build/predictions.parquet")
    val, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    figures = row(model, seed, report) | {"val": macro_recall(val, val["label"])}
    if truth is not None:
        figures["true labels"] = macro_recall(test, test["sha256"].map(true_labels(truth)))
    return figures


def main() -> None:
    """Run the grid and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", nargs="+", required=True, metavar="POINT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("-S", "--set-param", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--truth", type=Path, metavar="CSV")
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        for point in options.points:
            report = measured(seed, point, options.sets)
            if point == options.points[0]:
                rows.append(row("frozen", seed, report["frozen"]))
            rows.append(finetuned(f"from {point}", seed, report["finetuned"], options.truth))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    table["gain"] = table["test"] - table["seed"].map(table[table["model"] == "frozen"].set_index("seed")["test"])
    groups = table.drop(columns="seed").groupby("model", sort=False)
    shown = groups.mean()
    shown.insert(1, "sd", groups["test"].std())
    shown.insert(2, "least gain", groups["gain"].min())
    print(shown.round(1).to_markdown())
    print(json.dumps({f"{model}: points over frozen": round(gain, 2) for model, gain in shown["gain"].items()}))


if __name__ == "__main__":
    main()
