"""The plot of a search's rungs: every trial's value against what it cost."""

from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from pipeline.core.files import atomic
from pipeline.params.root import Params
from pipeline.tuning import rungs


def draw(trials: list[FrozenTrial], params: Params, path: Path) -> None:
    """Draw the completed trials; a line joins those of the same values. `trials` hold slots."""
    import matplotlib as mpl

    with mpl.rc_context({"backend": "Agg"}):
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(8.0, 5.0), layout="constrained")
        for points in _courses(trials, params):
            axes.plot(*zip(*points, strict=True), marker="o", linewidth=1.0, alpha=0.7)
        axes.set_xscale("log")
        axes.set_xlabel("cost of a trial, as a share of a training in full")
        axes.set_ylabel(f"{params.tune.objective} on validation")
        axes.set_title(_title(trials, params))
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110)
        plt.close(figure)


def _courses(trials: list[FrozenTrial], params: Params) -> list[list[tuple[float, float]]]:
    """Return (cost, value) by rung, a list for each set of values."""
    courses: dict[str, list[tuple[float, float]]] = {}
    for trial in sorted(trials, key=rungs.of_trial):
        if trial.state == TrialState.COMPLETE:
            point = rungs.cost(params, rungs.of_trial(trial)), trial.values[0]
            courses.setdefault(rungs.values_key(trial), []).append(point)
    return list(courses.values())


def _title(trials: list[FrozenTrial], params: Params) -> str:
    agreements = [rungs.agreement(trials, index).spearman for index in range(len(params.tune.rungs))]
    shown = ", ".join("too few" if each is None else f"{each:.2f}" for each in agreements)
    return f"rungs of the search; Spearman's coefficient from each to the next: {shown}"
