"""How often `nsfw monitor` reports drift: between random parts of one table of scores, and of one and another table.

Run     python benchmarks/drift.py SCORES CHANGED [--pictures 700] [--draws 20]
Expect  at most one alarm in 20 draws without change; a number of reports of the change that depends on the change.

SCORES, CHANGED: tables of `nsfw score` by one model. Of each draw the reference is a random half of SCORES; the windows
are `pictures` of its other half, and `pictures` of CHANGED. In the project whose params.yaml has the limits.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.monitoring import drift, scores
from pipeline.params.root import load_params


def part(window: scores.Window, rows: np.ndarray) -> scores.Window:
    """Return some contents of a window."""
    return replace(window, contents=window.contents.iloc[rows])


def main() -> None:
    """Print a table, and last a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path)
    parser.add_argument("changed", type=Path)
    parser.add_argument("--pictures", type=int, default=700)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    limits = load_params().monitor
    same, other = scores.read(options.scores), scores.read(options.changed)
    scores.check_comparable(same, [other])
    reports = {"without change": 0, "changed": 0}
    for seed in range(options.draws):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(same.contents))
        half = len(order) // 2
        windows = {
            "without change": part(same, order[half : half + options.pictures]),
            "changed": part(other, rng.permutation(len(other.contents))[: options.pictures]),
        }
        for name, window in windows.items():
            rows = drift.judge(drift.compare(part(same, order[:half]), window, limits), limits)
            reports[name] += any(row.drifted for row in rows)
    for name, count in reports.items():
        print(f"{name:<15} drift reported in {count} of {options.draws} draws")
    print(json.dumps({name.replace(" ", "_"): count / options.draws for name, count in reports.items()}))


if __name__ == "__main__":
    main()
