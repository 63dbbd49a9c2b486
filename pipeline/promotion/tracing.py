"""From a version back to what made it: commit, data, params, run, and the commands that make it again."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from pipeline.core import git
from pipeline.promotion.formatting import plain
from pipeline.registry import evidence_store, state
from pipeline.registry.evidence_store import DoubtfulError
from pipeline.registry.package import SHA_TAG
from pipeline.tracking import git_trees, server
from pipeline.tracking.absent import or_none
from pipeline.tracking.mlflow_facts import ID_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from pipeline.params.root import Params


def trace(params: Params, asked: str) -> dict[str, Any]:
    """Return what made a version, and `commands` that rebuild it in a fresh clone.

    Raises:
        UserError: there is no such version.
        Unreachable: the server does not answer.

    """
    with server.session() as client:
        now = state.read(client, params.register_)
        version = state.resolve(now, asked, params.register_)
        found = client.get_model_version(now.model, str(version))
        run = _run(client, found.run_id)
        try:
            dossier, doubt = evidence_store.fetch(client, now.model, version), ""
        except DoubtfulError as error:
            dossier, doubt = None, str(error)
    # What versions are not searched by stands with their run alone; older ones carry all of it.
    tags = {**(run.data.tags if run else {}), **found.tags}
    facts = dict(dossier.facts) if dossier else {}
    tree = tags.get("nsfw.git_tree") or facts.get("git_tree")
    dirty = (tags.get("nsfw.git_dirty") or str(facts.get("git_dirty")).lower()) == "true"
    committed = git_trees.commit_with(tree) if dirty and tree and not facts.get("untracked") else None
    document: dict[str, Any] = {
        "model": now.model,
        "version": version,
        "run_id": found.run_id,
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
        "figures": _figures(dossier.document) if dossier else {},
    }
    return document | {"commands": commands(document)}


def commands(found: dict[str, Any]) -> list[str]:
    """Return the shell commands that rebuild a version from a trace, each a line; comments say what to expect.

    They are pasted into a shell, and what they name stands in tags that anybody may have written: it is quoted.
    """
    if found["imported"]:
        return ["# imported: trained elsewhere; `nsfw import-model` of the same file registers it again"]
    commit = found["committed_as"] or found["commit"]
    if commit is None:
        return ["# no commit is known of it (trained outside git?): there is none to check out"]
    lines = [f"git clone {quote(_origin())} rebuilt && cd rebuilt", f"git checkout {quote(commit)}"]
    if found["dirty"] and not found["committed_as"]:
        lines += [
            "# it was trained from uncommitted changes; the run keeps them as the artifact code.diff:",
            f"mlflow artifacts download --run-id {quote(found['run_id'])} --artifact-path code.diff -d ..",
            "git apply ../code.diff",
        ]
    lines += [
        "make install && . .venv/bin/activate",
        f"dvc pull data.dvc                 # the scrape as of md5 {plain(str(found['data_md5']))}",
        "dvc repro evaluate",
        "dvc metrics show",
    ]
    lines += [
        f"sha256sum {quote(name)}   # {plain(digest)}" for name, digest in found["inputs"].items() if Path(name).suffix
    ]
    # A GPU, or another processor's instructions, round otherwise.
    model = plain(str(found["model_sha256"]))
    return [*lines, f"sha256sum build/finetuned/model.keras   # {model}, on the same kind of machine"]


def lines(found: dict[str, Any]) -> list[str]:
    """Return a trace for a terminal."""
    dirty = ", with uncommitted changes" if found["dirty"] else ""
    if found["committed_as"]:
        dirty += f", committed since as {found['committed_as']}"
    shown = {
        "run": f"{found['run_name']} ({found['run_id']}), record {found['record_id']}, ended {found['trained_at']}",
        "commit": f"{found['commit'] or 'unknown'}{dirty}",
        "data": f"data.dvc md5 {found['data_md5']}",
        "model": f"sha256 {found['model_sha256']}",
        "evidence": found["doubt"] or f"sha256 {found['evidence_sha256']}",
        "figures": ", ".join(f"{name} {value:.6g}" for name, value in found["figures"].items() if value is not None),
    }
    text = [f"{found['model']} version {found['version']}"]
    text += [f"  {name:<9} {value}" for name, value in shown.items()]
    text += ["  params    " + ", ".join(f"{key}={value}" for key, value in found["params"].items())]
    return [*text, "", "rebuild:", *(f"  {line}" for line in found["commands"])]


def _figures(document: Any) -> dict[str, float | None]:
    summary = document["summary"]
    named = {"test pictures": summary["pictures"], "accuracy": summary["accuracy"]}
    return {**named, "macro recall": summary["macro_recall"], "unsafe recall": summary["unsafe"]["recall"]}


def _run(client: MlflowClient, run_id: str | None) -> Run | None:
    # The version stays when its run is purged.
    return or_none(lambda: client.get_run(run_id)) if run_id else None


def _origin() -> str:
    """Return where to clone from: the remote, or this very folder."""
    for command in (("remote", "get-url", "origin"), ("rev-parse", "--show-toplevel")):
        if place := (git.ask(*command).text or "").strip():
            return server.shown(place) if place.startswith(("http://", "https://")) else place
    return "REPOSITORY"
