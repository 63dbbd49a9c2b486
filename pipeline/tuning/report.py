"""What `nsfw tune` tells at its end."""

from collections.abc import Callable
from typing import Any

import optuna

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.params import editing
from pipeline.params.root import Params
from pipeline.tracking import server
from pipeline.tracking.publish import runs_of
from pipeline.tuning import proposal, study


def collect(searched: optuna.Study, params: Params) -> dict[str, Any]:
    """Return the state of a study: trials by state, the first and the best one, the Pareto front of two objectives."""
    now = study.standing(searched, params.tune.trials)
    trials = study.slots(searched.get_trials(deepcopy=False))
    best = now.best
    front = searched.best_trials if len(searched.directions) > 1 else []
    return {
        "study": searched.study_name,
        "storage": server.shown(params.tune.storage),
        "trials": {"asked": now.total, "finished": now.finished, "pruned": now.pruned, "running": now.running},
        "objectives": list(study.objectives(params.tune)),
        "first": _one(trials.get(0)),
        "best": _one(best),
        "changes": sorted(proposal.changes(proposal.rounded(best.params), params)) if best else [],
        "front": [_one(one) for one in sorted(front, key=lambda one: one.number)],
        "mlflow": {"uri": server.shown(server.tracking_uri()), "run": _run_id(searched)},
    }


def _one(trial: optuna.trial.FrozenTrial | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    return {
        "trial": trial.number,
        "state": trial.state.name,
        "values": trial.values or list(trial.intermediate_values.values())[-1:],
        "params": dict(trial.params),
        "metrics": trial.user_attrs.get(study.RESULTS, {}),
    }


def _run_id(searched: optuna.Study) -> str | None:
    """Return the study's run in MLflow; None where it does not answer, or has not got it yet."""

    def ask() -> str | None:
        with server.session() as client:
            runs = runs_of(client, server.experiment_id(client), searched.user_attrs.get(study.PARENT, ""))
            return str(runs[0].info.run_id) if runs else None

    try:
        return server.patiently(ask)
    except Exception:  # noqa: BLE001 -- MLflow's client raises many kinds; the search does not depend on it
        return None


def describe(found: dict[str, Any]) -> list[str]:
    """Return the same as lines for people."""
    counts = found["trials"]
    lines = [
        f"study {found['study']}: {counts['finished']} of {counts['asked']} trials finished, {counts['pruned']} pruned"
    ]
    names = found["objectives"]
    first, best = found["first"], found["best"]
    if first:
        lines.append(f"first trial (the article's values): {_values(first, names)}")
    if best:
        lines.append(f"best, trial {best['trial']}: {_values(best, names)}")
        lines += [f"  {key}: {_shown(value)}" for key, value in best["params"].items()]
        recalls = {k.removeprefix("val_recall/"): v for k, v in best["metrics"].items() if k.startswith("val_recall/")}
        if recalls:
            lines.append("  recall " + ", ".join(f"{name} {value:.3f}" for name, value in recalls.items()))
    lines += [f"on the front, trial {one['trial']}: {_values(one, names)}" for one in found["front"]]
    run = found["mlflow"]["run"]
    lines.append(f"MLflow: run {run} on {found['mlflow']['uri']}" if run else "MLflow: `nsfw sync` publishes the study")
    return [*lines, _next(found)]


def _next(found: dict[str, Any]) -> str:
    asked = found["trials"]["asked"]
    command = f"nsfw tune --study {found['study']} --trials"
    if found["changes"]:
        return f"next: {command} {asked} --write   (confirms the winner in full, shows the diff)"
    return f"next: {command} {2 * asked}   (nothing is better than params.yaml's own values so far)"


def _values(one: dict[str, Any], names: list[str]) -> str:
    shown = ", ".join(f"{name} {value:.4f}" for name, value in zip(names, one["values"], strict=False))
    return shown if one["state"] == "COMPLETE" else f"{shown or 'no epoch'} ({one['state'].lower()})"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def propose(params: Params, *, anyway: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Confirm the winner in full over seeds, and write it into params.yaml.

    Raises:
        UserError: there is no winner, it is what params.yaml has, or its gain may be noise (unless `anyway`).

    """
    searched = study.join(study.open_storage(params.tune.storage), params)
    best = study.winner(searched)
    if best is None:
        raise UserError(f"study {searched.study_name!r} has no completed trial yet: nothing to write.")
    values = proposal.rounded(best.params)
    changed = proposal.changes(values, params)
    if not changed:
        raise UserError(f"trial {best.number}, the best, has params.yaml's own values: there is nothing to change.")
    gain = proposal.confirm(searched, params, values, tell)
    proposal.refuse_noise(gain, anyway=anyway)
    diff = editing.write(changed)
    return {
        "trial": best.number,
        "gain": {"objective": gain.objective, "mean": gain.mean, "standard_error": gain.error, "by_seed": gain.by_seed},
        "diff": diff,
        "wrote": str(paths.PARAMS),
        "run": _run_id(searched),
        "study": searched.study_name,
    }


def describe_proposal(found: dict[str, Any]) -> list[str]:
    """Return a proposal as lines for people."""
    gain = found["gain"]
    spread = ", ".join(f"{value:+.4f}" for value in gain["by_seed"])
    return [
        found["diff"].rstrip("\n"),
        f"expected gain in {gain['objective']} on validation: {gain['mean']:+.4f} (by seed: {spread})",
        f"standard error of the gain: {gain['standard_error']:.4f}",
        f"study {found['study']}, trial {found['trial']}; MLflow run {found['run'] or '(`nsfw sync` publishes it)'}",
        f"wrote {found['wrote']}",
        "next: git diff params.yaml; dvc repro; git commit",
    ]
