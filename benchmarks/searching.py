"""Trials per hour of `nsfw tune` against a naive search, which trains each trial in full, through the same code.

    nsfw tune --trials 30 --workers 2 && python benchmarks/searching.py --naive 3

Run it in a project folder after a search. The search's pace is that of its storage: from the first trial's beginning to
the last one's end (so let one call do it all). A naive trial draws from the same space, and trains head and backbone on
all of train for all epochs, with all cores.
"""

import argparse
import json
import statistics
import time

import optuna

from pipeline.params.root import load_params
from pipeline.tuning import space, study, trial


def pace(searched: optuna.Study) -> float:
    """Return the seconds a finished trial took, all workers together."""
    done = study.finished(searched)
    begun = min(one.datetime_start for one in done if one.datetime_start)
    ended = max(one.datetime_complete for one in done if one.datetime_complete)
    return (ended - begun).total_seconds() / len(done)


def main() -> None:
    """Measure and print the ratio, as JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--naive", type=int, default=3, help="trials to train in full")
    options = parser.parse_args()
    params = load_params()
    searched = study.join(study.open_storage(params.tune.storage), params)
    data = trial.load(params, 1.0)
    draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=params.seed))
    seconds = []
    for _ in range(options.naive):
        values = space.draw(draws.ask(), params.tune.space, params)
        begun = time.perf_counter()
        trial.train(space.apply(values, params), data, lambda _epoch, _metrics: None)
        seconds.append(time.perf_counter() - begun)
        print(f"naive trial: {seconds[-1]:.0f} s, {values}")
    ours, naive = pace(searched), statistics.median(seconds)
    counts = f"{len(study.finished(searched))} and {options.naive} trials"
    print(f"seconds a trial: ours {ours:.1f}, naive {naive:.1f}; {counts}")
    print(json.dumps({"trials per hour, ours / naive": round(naive / ours, 2)}))


if __name__ == "__main__":
    main()
