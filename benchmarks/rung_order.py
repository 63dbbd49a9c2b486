"""How well each rung of `nsfw tune` orders values as a training in full does.

    python benchmarks/rung_order.py --points 12

Run it in a project folder after `dvc repro embed`. Draws points of `tune.space` at random, and trains each in every
rung and, with another seed, in full. Prints a line a training, then Spearman's coefficient of each rung with the
trainings in full, and what a trial of the rung costs as a share of one.
"""

import argparse
import json

import optuna
import pandas as pd

from pipeline.params.root import Params, load_params
from pipeline.training.both_stages import Data
from pipeline.tuning import rungs, space, study, trial


def value(params: Params, data: Data) -> float:
    """Train; return the best epoch's objective on validation."""
    objective = params.tune.objective
    epochs: list[float] = []
    trial.train(params, data, lambda _epoch, metrics: epochs.append(metrics[trial.METRICS[objective]]))
    return trial.best(epochs, study.direction(objective))


def main() -> None:
    """Train the points in every rung, one rung after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=12)
    options = parser.parse_args()
    params = load_params()
    draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=params.seed))
    points = [space.draw(draws.ask(), params.tune.space, params) for _ in range(options.points)]
    numbers = range(len(rungs.all_rungs(params.tune)))
    table = pd.DataFrame(index=range(options.points), columns=[f"rung {number + 1}" for number in numbers], dtype=float)
    for number in numbers:
        setting = rungs.params_at(params, number)
        data = trial.load(setting, setting.tune.subset)
        factor = trial.batch_factor(setting, data.train.pictures)
        for index, point in enumerate(points):
            short = trial.short_params(space.apply(point, setting), factor)
            table.loc[index, f"rung {number + 1}"] = value(short, data)
            print(
                json.dumps({"rung": number + 1, "point": index, "value": table.loc[index, f"rung {number + 1}"]}),
                flush=True,
            )
    data = trial.load(params, 1.0)
    other = params.model_copy(update={"seed": params.seed + 1})
    table["full"] = [value(space.apply(point, other), data) for point in points]
    print(table.round(4).to_markdown())
    correlation = table.corr(method="spearman")["full"].drop("full").round(2)
    costs = [round(rungs.cost(params, number), 3) for number in numbers]
    print(
        json.dumps({"spearman with full": dict(correlation), "cost": dict(zip(correlation.index, costs, strict=True))})
    )


if __name__ == "__main__":
    main()
