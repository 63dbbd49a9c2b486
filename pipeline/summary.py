"""The first tour: what the last run made, in a few lines, and what to type next."""

from typing import Any

from pipeline import paths, tables
from pipeline.errors import UserError
from pipeline.evaluation.gates import Gate
from pipeline.files import read_json
from pipeline.promotion.showing import gate_lines


def collect() -> dict[str, Any]:
    """Return the run's key figures, ready for JSON; `gates` is None where MLflow does not answer.

    Raises:
        UserError: a stage has not run yet.

    """
    checked = read_json(paths.METRICS / "validate.json")
    evaluated = read_json(paths.METRICS / "evaluate.json")
    issues = tables.read_csv(paths.LABEL_ISSUES, ("sha256", "label", "suggested"))
    registered = read_json(paths.REGISTERED)
    kept = ("accuracy", "macro_recall", "recall", "unsafe")
    return {
        "sighted": checked["sighted"],
        "quarantined": checked["quarantined"]["total"],
        **{key: read_json(paths.METRICS / "dedupe.json")[key] for key in ("exact_copies", "conflicts", "kept")},
        "frozen": {key: evaluated["frozen"][key] for key in kept},
        "finetuned": {key: evaluated["finetuned"][key] for key in kept},
        "test_pictures": evaluated["finetuned"]["pictures"],
        "suspicious_labels": len(issues),
        "model": {key: registered[key] for key in ("model", "alias", "version", "uri", "pending")},
        "gates": None if registered["pending"] else _judged(str(registered["version"])),
    }


def _judged(version: str) -> dict[str, Any] | None:
    """Return the gate table of the registered version against production, as `nsfw gates` does."""
    from pipeline.params import load_params
    from pipeline.promotion import promoting, rescoring
    from pipeline.tracking import server

    try:
        params = load_params()
        outcome = server.patiently(lambda: promoting.judge(params, version, rescore=rescoring.rescorer(params)))
    except (server.Unreachable, UserError):  # another store than the one that `register` wrote to
        return None
    return outcome.to_document()


def describe(found: dict[str, Any]) -> list[str]:
    """Return `collect`'s figures as lines for a terminal."""
    frozen, tuned, model = found["frozen"], found["finetuned"], found["model"]
    rows = [(name.replace("_", " "), frozen[name], tuned[name]) for name in ("accuracy", "macro_recall")]
    rows += [(f"recall {name}", frozen["recall"][name], tuned["recall"][name]) for name in tuned["recall"]]
    rows.append(("unsafe recall", frozen["unsafe"]["recall"], tuned["unsafe"]["recall"]))
    version = f"version {model['version']}, {model['uri']}" if not model["pending"] else "waits for MLflow: `nsfw sync`"
    return [
        "",
        f"pictures   {found['sighted']} sighted, {found['quarantined']} quarantined (build/quarantine.csv)",
        f"           {found['exact_copies']} exact copies, {found['conflicts']} conflicts (build/conflicts.csv)",
        f"           {found['kept']} kept",
        f"test set   {found['test_pictures']} pictures, labels as scraped       frozen   fine-tuned",
        *(f"             {name:<34}{_percent(before)}      {_percent(after)}" for name, before, after in rows),
        f"labels     {found['suspicious_labels']} look wrong, the likeliest first in reports/label_issues.csv",
        f"model      {model['model']}, {version}, alias {model['alias']}",
        *_gates(found["gates"]),
        "",
        *_next(found["gates"]),
        "       make ui            browse the runs and the registered model in MLflow",
        "       dvc plots show     confusion matrix and curves; dvc metrics show for the numbers",
        "       open reports/data_docs/index.html   what Great Expectations checked",
    ]


def _gates(judged: dict[str, Any] | None) -> list[str]:
    if judged is None:
        return []
    against = "nothing" if judged["previous"] is None else f"version {judged['previous']}"
    head, *table = gate_lines([Gate(**gate) for gate in judged["gates"]])
    return ["", f"{head} (against {against} in production)", *table]


def _next(judged: dict[str, Any] | None) -> list[str]:
    if judged is None or judged["version"] == judged["previous"]:
        return ["next:  nsfw history       what is in production, since when and why"]
    if judged["failed"]:
        return [f"next:  nsfw gates {judged['version']}       judges again; docs/promotion.md explains each gate"]
    return [f"next:  nsfw promote {judged['version']} --reason 'it passed'     makes it production"]


def _percent(share: float | None) -> str:
    return "     -  " if share is None else f"{100 * share:6.1f} %"
