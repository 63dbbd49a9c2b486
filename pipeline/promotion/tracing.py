"""Trace a version to its commit, data, params and run, with the commands that rebuild it."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from pipeline.core import git
from pipeline.evidence.document import Document
from pipeline.promotion.formatting import plain
from pipeline.registry import evidence_store, state
from pipeline.registry.evidence_store import Evidence, EvidenceError
from pipeline.registry.package import SHA_TAG
from pipeline.tracking import git_trees, server, store_address
from pipeline.tracking.absent import or_none
from pipeline.tracking.mlflow_facts import ID_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from pipeline.params.root import Params


def trace(params: Params, requested: str) -> dict[str, Any]:
    """Return where a version comes from, and the `commands` that rebuild it in a fresh clone.

    Raises:
        UserError: there is no such version.
        Unreachable: the server does not answer.

    """
    with server.session() as client:
        now = state.read(client, params.register_)
        version = state.resolve(now, requested, params.register_)
        registered = client.get_model_version(now.model, str(version))
        run = _run(client, registered.run_id)
        evidence, doubt = _evidence(client, now.model, version)
    # Tags that nobody searches versions by are on the run only; older versions carry all of them.
    tags = {**(run.data.tags if run else {}), **registered.tags}
    facts = dict(evidence.facts) if evidence else {}
    tree = tags.get("nsfw.git_tree") or facts.get("git_tree")
    dirty = (tags.get("nsfw.git_dirty") or str(facts.get("git_dirty")).lower()) == "true"
    committed = git_trees.commit_with(tree) if dirty and tree and not facts.get("untracked") else None
    document: dict[str, Any] = {
        "model": now.model,
        "version": version,
        "run_id": registered.run_id,
        "run_name": run.info.run_name if run else None,
        "record_id": tags.get(ID_TAG),
        "model_sha256": tags.get(SHA_TAG),
        "evidence_sha256": tags.get(evidence_store.EVIDENCE_TAG),
        "doubt": doubt,
        "imported": bool(facts.get("imported")),
        "commit": tags.get("nsfw.git_commit"),
        "dirty": dirty,
        "committed_as": committed,
        "data_md5": tags.get("nsfw.data_md5"),
        "trained_at": facts.get("trained_at"),
        "params": dict(sorted(facts.get("params", {}).items())) or (dict(run.data.params) if run else {}),
        "inputs": {entry["name"]: entry["digest"] for entry in facts.get("inputs", [])},
        "figures": _figures(evidence.document) if evidence else {},
    }
    return document | {"commands": commands(document)}


def commands(report: dict[str, Any]) -> list[str]:
    """Return the shell commands that rebuild a traced version, one a line; comments say what to expect.

    People paste them into a shell, and anybody may have written the tags that they hold: values are quoted.
    """
    if report["imported"]:
        return ["# imported: trained elsewhere; `nsfw import-model` of the same file registers it again"]
    commit = report["committed_as"] or report["commit"]
    if commit is None:
        return ["# no commit is known of it (trained outside git?): there is none to check out"]
    lines = [f"git clone {quote(_origin())} rebuilt && cd rebuilt", f"git checkout {quote(commit)}"]
    if report["dirty"] and not report["committed_as"]:
        lines += [
            "# it was trained from uncommitted changes; the run keeps them as the artifact code.diff:",
            f"mlflow artifacts download --run-id {quote(report['run_id'])} --artifact-path code.diff -d ..",
            "git apply ../code.diff",
        ]
    lines += [
        "make install && . .venv/bin/activate",
        f"dvc pull data.dvc                 # the scrape as of md5 {plain(str(report['data_md5']))}",
        "dvc repro evaluate",
        "dvc metrics show",
    ]
    lines += [
        f"sha256sum {quote(name)}   # {plain(digest)}" for name, digest in report["inputs"].items() if Path(name).suffix
    ]
    # A GPU, or a processor with other instructions, rounds differently.
    model = plain(str(report["model_sha256"]))
    return [*lines, f"sha256sum build/finetuned/model.keras   # {model}, on the same kind of machine"]


def lines(report: dict[str, Any]) -> list[str]:
    """Return the lines of a trace for a terminal."""
    dirty = ", with uncommitted changes" if report["dirty"] else ""
    if report["committed_as"]:
        dirty += f", committed since as {report['committed_as']}"
    shown = {
        "run": f"{report['run_name']} ({report['run_id']}), record {report['record_id']}, ended {report['trained_at']}",
        "commit": f"{report['commit'] or 'unknown'}{dirty}",
        "data": f"data.dvc md5 {report['data_md5']}",
        "model": f"sha256 {report['model_sha256']}",
        "evidence": report["doubt"] or f"sha256 {report['evidence_sha256']}",
        "figures": ", ".join(f"{name} {value:.6g}" for name, value in report["figures"].items() if value is not None),
    }
    text = [f"{report['model']} version {report['version']}"]
    text += [f"  {name:<9} {value}" for name, value in shown.items()]
    text += ["  params    " + ", ".join(f"{key}={value}" for key, value in report["params"].items())]
    return [*text, "", "rebuild:", *(f"  {line}" for line in report["commands"])]


def _evidence(client: MlflowClient, model: str, version: int) -> tuple[Evidence | None, str]:
    """Return a version's evidence and "", or None and why it cannot be used."""
    try:
        return evidence_store.fetch(client, model, version), ""
    except EvidenceError as error:
        return None, str(error)


def _figures(document: Document) -> dict[str, float | None]:
    summary = document.summary
    return {
        "test pictures": summary.pictures,
        "accuracy": summary.accuracy,
        "macro recall": summary.macro_recall,
        "unsafe recall": summary.unsafe.recall,
    }


def _run(client: MlflowClient, run_id: str | None) -> Run | None:
    # A version outlives its run: runs can be purged.
    return or_none(lambda: client.get_run(run_id)) if run_id else None


def _origin() -> str:
    """Return where to clone from: the remote, or this folder."""
    for command in (("remote", "get-url", "origin"), ("rev-parse", "--show-toplevel")):
        if address := (git.run(*command).text or "").strip():
            return store_address.without_password(address) if address.startswith(("http://", "https://")) else address
    return "REPOSITORY"
