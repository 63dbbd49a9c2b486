"""Trials per hour of `nsfw tune` compared with a naive search, which trains each trial in full, by the same code.

    nsfw tune --trials 30 --workers 2 && python benchmarks/searching.py --naive 3

Run it in a project folder after a search. The search's pace is measured in the storage, from the first trial's start to
the last one's end (so run it in one call). A naive trial draws from the same space, and trains head and backbone on
all of train for all epochs, with all cores.
"""

import argparse
import json
import statistics
import time

import optuna

from pipeline.params.root import load_params
from pipeline.tuning import slots, space, storage, study, trial


def pace(optuna_study: optuna.Study) -> float:
    """Return the seconds a finished trial took, all workers together."""
    done = slots.finished_trials(optuna_study)
    begun = min(one.datetime_start for one in done if one.datetime_start)
    ended = max(one.datetime_complete for one in done if one.datetime_complete)
    return (ended - begun).total_seconds() / len(done)


def main() -> None:
    """Measure and print the ratio, as JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--naive", type=int, default=3, help="trials to train in full")
    options = parser.parse_args()
    params = load_params()
    optuna_study = study.join(storage.connect(params.tune.storage), params)
    data = trial.load(params, 1.0)
    draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=params.seed))
    seconds = []
    for _ in range(options.naive):
        values = space.draw(draws.ask(), params.tune.space, params)
        begun = time.perf_counter()
        trial.train(space.apply(values, params), data, lambda _epoch, _metrics: None)
        seconds.append(time.perf_counter() - begun)
        print(f"naive trial: {seconds[-1]:.0f} s, {values}")
    ours, naive = pace(optuna_study), statistics.median(seconds)
    counts = f"{len(slots.finished_trials(optuna_study))} and {options.naive} trials"
    print(f"seconds a trial: ours {ours:.1f}, naive {naive:.1f}; {counts}")
    print(json.dumps({"trials per hour, ours / naive": round(naive / ours, 2)}))


if __name__ == "__main__":
    main()
