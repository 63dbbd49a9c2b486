"""What fine-tuning gains over the frozen backbone, by the point from which it unfreezes: the article's 87 against 91 %.

    python benchmarks/unfreezing.py --points block_13 block_6 block_3 all --seeds 1 2 3

Run it in a project folder with its own data. Each cell is a DVC experiment (`dvc exp show` lists them, `dvc exp apply`
brings one back): `dvc exp run -S seed=1 -S finetune.unfreeze=block_6 evaluate`. Prints means over the seeds, in
per cent of the test set, with the standard deviation of the accuracy; a seed changes initial weights, dropout, order
and augmentation, never the split.
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


def row(model: str, seed: int, report: dict[str, Any]) -> dict[str, Any]:
    """Return one model's figures of one report, in per cent."""
    recalls = {f"recall {name}": 100 * value for name, value in report["recall"].items()}
    return {"model": model, "seed": seed, "accuracy": 100 * report["accuracy"], **recalls}


def main() -> None:
    """Run the grid and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", nargs="+", required=True, metavar="POINT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("-S", "--set-param", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        for point in options.points:
            report = measured(seed, point, options.sets)
            if point == options.points[0]:
                rows.append(row("frozen", seed, report["frozen"]))
            rows.append(row(f"from {point}", seed, report["finetuned"]))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    table = pd.DataFrame(rows).drop(columns="seed").groupby("model", sort=False)
    shown = table.mean()
    shown.insert(1, "sd", table["accuracy"].std())
    print(shown.round(1).to_markdown())
    gains = shown["accuracy"] - shown.loc["frozen", "accuracy"]
    print(json.dumps({f"{model}: points over frozen": round(gain, 2) for model, gain in gains.items()}))


if __name__ == "__main__":
    main()
