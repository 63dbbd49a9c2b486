"""The report of `nsfw tune`, and the proposal that it writes into params.yaml."""

from collections.abc import Callable
from typing import Any

import optuna

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.params import editing
from pipeline.params.root import Params
from pipeline.tracking import server, store_address
from pipeline.tracking.publish import runs_of
from pipeline.tuning import proposal, rungs, slots, storage, study


def collect(optuna_study: optuna.Study, params: Params) -> dict[str, Any]:
    """Return the state of a study: trials by state, the first and the best trial, and the front of two objectives."""
    state = slots.study_state(optuna_study, params)
    trials = slots.by_slot(optuna_study.get_trials(deepcopy=False))
    best = state.best
    front = optuna_study.best_trials if len(optuna_study.directions) > 1 else []
    return {
        "study": optuna_study.study_name,
        "storage": store_address.without_password(params.tune.storage),
        "trials": {"asked": state.total, "finished": state.finished, "pruned": state.pruned, "running": state.running},
        "objectives": list(study.objectives(params.tune)),
        "first": _trial_summary(trials.get(0)),
        "best": _trial_summary(best),
        "changes": sorted(proposal.changes(proposal.round_values(best.params), params)) if best else [],
        "rungs": [_rung(list(trials.values()), params, index) for index in range(len(params.tune.rungs) + 1)],
        "front": [_trial_summary(trial) for trial in sorted(front, key=lambda trial: trial.number)],
        "mlflow": {"uri": store_address.without_password(store_address.tracking_uri()), "run": _run_id(optuna_study)},
    }


def _trial_summary(trial: optuna.trial.FrozenTrial | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    return {
        "trial": trial.number,
        "state": trial.state.name,
        "values": trial.values or list(trial.intermediate_values.values())[-1:],
        "params": dict(trial.params),
        "metrics": trial.user_attrs.get(study.RESULTS, {}),
    }


def _rung(trials: list[optuna.trial.FrozenTrial], params: Params, index: int) -> dict[str, Any]:
    """Return a rung's size, the cost of a trial as a share of a training in full, and its agreement with the next."""
    rung, agrees = rungs.all_rungs(params.tune)[index], rungs.agreement(trials, index)
    finished = sum(rungs.of_trial(each) == index and each.state in slots.FINISHED for each in trials)
    shown = rung.model_dump() | {"finished": finished, "cost": round(rungs.cost(params, index), 4)}
    return shown | {"agreement": None if agrees.spearman is None else vars(agrees)}


def _run_id(optuna_study: optuna.Study) -> str | None:
    """Return the id of the study's run in MLflow; None if the server does not answer, or does not have it yet."""

    def ask() -> str | None:
        with server.session() as client:
            runs = runs_of(client, server.experiment_id(client), optuna_study.user_attrs.get(study.PARENT, ""))
            return str(runs[0].info.run_id) if runs else None

    try:
        return server.run_watched(ask)
    except Exception:  # noqa: BLE001 -- MLflow's client raises many kinds; the search does not depend on it
        return None


def describe(report: dict[str, Any]) -> list[str]:
    """Return the result of `collect` as lines of text."""
    counts = report["trials"]
    lines = [
        f"study {report['study']}: {counts['finished']} of {counts['asked']} trials finished, {counts['pruned']} pruned"
    ]
    names = report["objectives"]
    first, best = report["first"], report["best"]
    if len(report["rungs"]) > 1:
        lines += [_describe_rung(number, rung) for number, rung in enumerate(report["rungs"], 1)]
    if first:
        lines.append(f"first trial (the article's values): {_values(first, names)}")
    if best:
        lines.append(f"best, trial {best['trial']}: {_values(best, names)}")
        lines += [f"  {key}: {_shown(value)}" for key, value in best["params"].items()]
        recalls = {k.removeprefix("val_recall/"): v for k, v in best["metrics"].items() if k.startswith("val_recall/")}
        if recalls:
            lines.append("  recall " + ", ".join(f"{name} {value:.3f}" for name, value in recalls.items()))
    lines += [f"on the front, trial {summary['trial']}: {_values(summary, names)}" for summary in report["front"]]
    run = report["mlflow"]["run"]
    lines.append(
        f"MLflow: run {run} on {report['mlflow']['uri']}" if run else "MLflow: `nsfw sync` publishes the study"
    )
    return [*lines, _next(report)]


def _describe_rung(number: int, rung: dict[str, Any]) -> str:
    text = (
        f"rung {number}: {rung['finished']} trials, {rung['epochs']} epochs on {100 * rung['subset']:.0f} % of train, "
        f"each {100 * rung['cost']:.0f} % of a training in full"
    )
    agrees = rung["agreement"]
    if agrees is None:
        return text
    return f"{text}; Spearman with the next rung {agrees['spearman']:.2f} over {agrees['trials']}"


def _next(report: dict[str, Any]) -> str:
    total = report["rungs"][0]["trials"]
    command = f"nsfw tune --study {report['study']} --trials"
    if report["changes"]:
        return f"next: {command} {total} --write   (confirms the winner in full, shows the diff)"
    return f"next: {command} {2 * total}   (nothing is better than params.yaml's own values so far)"


def _values(summary: dict[str, Any], names: list[str]) -> str:
    shown = ", ".join(f"{name} {value:.4f}" for name, value in zip(names, summary["values"], strict=False))
    return shown if summary["state"] == "COMPLETE" else f"{shown or 'no epoch'} ({summary['state'].lower()})"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def propose(params: Params, *, anyway: bool, log: Callable[[str], None]) -> dict[str, Any]:
    """Confirm the best trial in full over several seeds, and write its values into params.yaml.

    Raises:
        UserError: there is no completed trial, params.yaml has its values already, or its gain may be noise (unless
            `anyway`).

    """
    optuna_study = study.join(storage.connect(params.tune.storage), params)
    best = slots.best_trial(optuna_study)
    if best is None:
        raise UserError(f"study {optuna_study.study_name!r} has no completed trial yet: nothing to write.")
    values = proposal.round_values(best.params)
    changed = proposal.changes(values, params)
    if not changed:
        raise UserError(f"trial {best.number}, the best, has params.yaml's own values: there is nothing to change.")
    gain = proposal.confirm(optuna_study, params, values, log)
    proposal.refuse_noise(gain, anyway=anyway)
    diff = editing.write(changed)
    return {
        "trial": best.number,
        "gain": {"objective": gain.objective, "mean": gain.mean, "standard_error": gain.error, "by_seed": gain.by_seed},
        "diff": diff,
        "wrote": str(paths.PARAMS),
        "run": _run_id(optuna_study),
        "study": optuna_study.study_name,
    }


def describe_proposal(proposed: dict[str, Any]) -> list[str]:
    """Return the result of `propose` as lines of text."""
    gain = proposed["gain"]
    spread = ", ".join(f"{value:+.4f}" for value in gain["by_seed"])
    run = proposed["run"] or "(`nsfw sync` publishes it)"
    return [
        proposed["diff"].rstrip("\n"),
        f"expected gain in {gain['objective']} on validation: {gain['mean']:+.4f} (by seed: {spread})",
        f"standard error of the gain: {gain['standard_error']:.4f}",
        f"study {proposed['study']}, trial {proposed['trial']}; MLflow run {run}",
        f"wrote {proposed['wrote']}",
        "next: git diff params.yaml; dvc repro; git commit",
    ]
