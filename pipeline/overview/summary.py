"""`nsfw summary`: the results of the last run in a few lines, and the next commands."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.core.files import read_object
from pipeline.data import sources
from pipeline.data.escalations import ESCALATED
from pipeline.evaluation.label_issues import weak_model_warning
from pipeline.overview import decided, gain
from pipeline.promotion.formatting import gate_lines
from pipeline.promotion.gate_table import Gate
from pipeline.registry import descriptions
from pipeline.tracking import lineage

if TYPE_CHECKING:
    from pipeline.promotion.agreement import BuildStatus


NOTHING_GAINED = (
    "NOTHING WAS GAINED by fine-tuning: the head on the frozen backbone was better on validation, and is kept"
)


DIVERGED = "THE FINE-TUNING DIVERGED in epoch {epoch}: its loss was not finite; the best model before that is kept"


def training_warnings(figures: Mapping[str, Any]) -> list[str]:
    """Return what a reader of `collect`'s figures must know of the fine-tuning."""
    epoch = figures["diverged_epoch"]
    return [*([DIVERGED.format(epoch=epoch)] if epoch else []), *([NOTHING_GAINED] if figures["kept_start"] else [])]


def collect() -> dict[str, Any]:
    """Return the run's key figures, ready for JSON; `gates` is None where MLflow does not answer.

    `problem`: how build/ and the registry differ, and which command resolves it; "" if they agree.

    Raises:
        UserError: a stage has not run yet.

    """
    shown = ("accuracy", "macro_recall", "recall", "unsafe")
    checked = read_object(paths.METRICS / "validate.json", "sighted", "quarantined.total")
    figures = [f"{model}.{key}" for model in ("frozen", "finetuned") for key in (*shown, "pictures", "unsafe.recall")]
    evaluated = read_object(paths.METRICS / "evaluate.json", *figures, "evidence.raw", "evidence.cleaned")
    issues = tables.read_csv(paths.LABEL_ISSUES, ("sha256", "label", "suggested"))
    audited = read_object(paths.METRICS / "audit.json", "pictures", "contradicted")
    registered = read_object(paths.REGISTERED, "model", "alias", "version", "uri", "pending")
    deduped = read_object(paths.METRICS / "dedupe.json", "exact_copies", "conflicts", "kept", "decisions", "escalated")
    split = read_object(paths.METRICS / "split.json")
    status = _build_status()
    if status is not None and status.version is not None:  # registered.json may be another store's, or pending
        known = {"version": status.version, "pending": False}
        registered |= known | {"uri": f"models:/{registered['model']}/{status.version}"}
    problem = "" if status is None or registered["pending"] else status.problem
    judged = None if registered["pending"] or problem else _judged(str(registered["version"]))
    return {
        "sighted": checked["sighted"],
        "quarantined": checked["quarantined"]["total"],
        "escalated_files": checked["quarantined"].get("reason", {}).get(ESCALATED, 0),
        **{key: deduped[key] for key in ("exact_copies", "conflicts", "kept")},
        "decisions": {"pictures": deduped["decisions"], "escalated": deduped["escalated"]}
        | {side: evaluated["evidence"][side] for side in decided.SIDES},
        "annotations": deduped.get("annotations", {}) | split.get("annotations", {}),
        "frozen": {key: evaluated["frozen"][key] for key in shown},
        "finetuned": {key: evaluated["finetuned"][key] for key in shown},
        "test_pictures": evaluated["finetuned"]["pictures"],
        "suspicious_labels": len(issues),
        "weak_suspicions": weak_model_warning(audited["contradicted"], audited["pictures"]),
        "model": {key: registered[key] for key in ("model", "alias", "version", "uri", "pending")},
        "problem": problem,
        "unknown_licences": sources.without(paths.DATA),
        "gates": judged,
        "gain": None if problem or not deduped["decisions"] else gain.collect(registered),
        **_trained(),
        "working_tree": _origin(lineage.git_state(Path()), lineage.data_md5(Path("data.dvc"))),
    }


def _trained() -> dict[str, Any]:
    """Return what fine-tuning came to: `kept_start` (nothing was gained), `diverged_epoch` (from 1, or None).

    And `trained_from`: commit and data, None if unknown.
    """
    from pipeline.tracking.run_record import RunRecord

    try:
        record = RunRecord.load(paths.FINETUNED)
    except UserError:
        return {"kept_start": False, "diverged_epoch": None, "trained_from": _origin({}, None)}
    made_from = record.document.get("lineage") or {}
    trained_from = _origin(made_from.get("git") or {}, made_from.get("data_md5"))
    outcome = {"kept_start": record.start_is_best, "diverged_epoch": record.diverged_epoch}
    return {**outcome, "trained_from": trained_from}


def _origin(git: Mapping[str, Any], data_md5: str | None) -> dict[str, Any]:
    return {"commit": git.get("commit"), "dirty": git.get("dirty"), "data_md5": data_md5}


def _build_status() -> "BuildStatus | None":
    """Return the registry's status of the model in build/; None if the registry does not answer."""
    from pipeline.params.root import load_params
    from pipeline.promotion import agreement
    from pipeline.tracking import optional, server

    def read() -> "BuildStatus | None":
        params = load_params()
        with server.session() as client:
            return agreement.build_status(client, params.register_)

    return optional.if_it_answers(read)


def _judged(version: str) -> dict[str, Any] | None:
    """Return the gate table of the registered version against production, as `nsfw gates` does."""
    from pipeline.params.root import load_params
    from pipeline.promotion import promoting, rescoring
    from pipeline.tracking import optional

    def judge() -> dict[str, Any]:
        params = load_params()
        return promoting.judge(params, version, rescore=rescoring.rescorer(params)).to_document()

    return optional.if_it_answers(judge)


def describe(figures: dict[str, Any]) -> list[str]:
    """Return `collect`'s figures as lines for a terminal."""
    model, people = figures["model"], figures["decisions"]
    version = f"version {model['version']}, {model['uri']}" if not model["pending"] else "waits for MLflow: `nsfw sync`"
    return [
        "",
        f"pictures   {figures['sighted']} sighted, {figures['quarantined']} quarantined (build/quarantine.csv)",
        *_escalated(figures.get("escalated_files", 0)),
        f"           {figures['exact_copies']} exact copies, {figures['conflicts']} conflicts (build/conflicts.csv)",
        f"           {figures['kept']} kept",
        *_unknown_licences(figures.get("unknown_licences", [])),
        *_annotations(figures["annotations"]),
        f"test set   {figures['test_pictures']} pictures, {decided.labels(people):<24}frozen   fine-tuned",
        *(f"             {name:<34}{before}      {after}" for name, before, after in describe_recall(figures)),
        *(f"           {warning}" for warning in training_warnings(figures)),
        *decided.lines(people),
        *gain.lines(figures["gain"]),
        f"labels     {figures['suspicious_labels']} look wrong, the likeliest first in reports/label_issues.csv",
        *([f"           {figures['weak_suspicions']}"] if figures["weak_suspicions"] else []),
        f"model      {model['model']}, {version}, alias {model['alias']}",
        *([f"PROBLEM    {figures['problem']}"] if figures["problem"] else []),
        *_gates(figures["gates"]),
        "",
        *_next(figures["gates"]),
        "       make ui            browse the runs and the registered model in MLflow",
        "       dvc plots show     recall, confusion matrix, curves; dvc metrics show for the numbers",
        "       open reports/index.html   leads to every report: model card, suspicious labels, copies, Data Docs",
    ]


def _escalated(count: int) -> list[str]:
    files = "1 file of them matches" if count == 1 else f"{count} files of them match"
    return [f"           {files} a list of ingest.screens: {paths.ESCALATION_RECORDS}"] if count else []


def _unknown_licences(names: Sequence[str]) -> list[str]:
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return [f"sources    of unknown licence: {shown} (`nsfw ingest ... --about FILE`)"] if names else []


def describe_recall(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows of a figure's name, and its value of the frozen and of the fine-tuned model in percent."""
    frozen, tuned = figures["frozen"], figures["finetuned"]
    rows = [(name.replace("_", " "), frozen[name], tuned[name]) for name in ("accuracy", "macro_recall")]
    rows += [(f"recall {name}", frozen["recall"][name], tuned["recall"][name]) for name in tuned["recall"]]
    rows.append(("unsafe recall", frozen["unsafe"]["recall"], tuned["unsafe"]["recall"]))
    return [(name, _percent(before), _percent(after)) for name, before, after in rows]


def _annotations(counts: dict[str, dict[str, int]]) -> list[str]:
    """Return a line for each file of people's annotations that has rows to check."""
    lines = []
    for name, count in counts.items():
        doubtful = sum(count.values()) - count["rows"]
        if doubtful:
            stage = "split" if name == "slices" else "dedupe"
            way = f"`dvc repro -f -s {stage}` names them"
            lines.append(f"people     {doubtful} of {count['rows']} rows of data/{name}.csv to look at: {way}")
    return lines


def _gates(judged: dict[str, Any] | None) -> list[str]:
    if judged is None:
        return []
    against = "nothing" if judged["previous"] is None else f"version {judged['previous']}"
    gates = [Gate(**gate) for gate in judged["gates"]]
    idle = [gate.gate for gate in gates if gate.status == "n/a"]
    head, *table = gate_lines([gate for gate in gates if gate.status != "n/a"])
    head = "; ".join([head, *descriptions.unjudged([gate.to_document() for gate in gates if gate.status == "n/a"])])
    if idle:
        table.append(f"  n/a (`nsfw gates` says why): {', '.join(idle)}")
    return ["", f"{head} (against {against} in production)", *table]


def _next(judged: dict[str, Any] | None) -> list[str]:
    if judged is None or judged["version"] == judged["previous"]:
        return ["next:  nsfw history       what is in production, since when and why"]
    if judged["failed"]:
        return [f"next:  nsfw gates {judged['version']}       judges again; docs/promotion.md explains each gate"]
    return [f"next:  nsfw promote {judged['version']} --reason 'it passed'     makes it production"]


def _percent(share: float | None) -> str:
    return "     -  " if share is None else f"{100 * share:6.1f} %"
