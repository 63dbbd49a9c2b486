"""Check that the challenger's alias points at the model in build/.

They can differ: DVC restores `register` from its run cache without registering, `dvc pull` brings a
build/registered.json that names a version of another store, and a store may be lost. Then a promotion would move
another model than the one that `dvc repro` made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import read_object
from pipeline.promotion.registration import built_decision
from pipeline.registry import ledger, model_versions
from pipeline.registry.sync import candidate_in_build
from pipeline.tracking import store_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.params.register import Register

MOVE = "dvc repro -f -s register"


@dataclass(frozen=True)
class BuildStatus:
    """What this registry has of the model in build/: its version, where the alias points, and what is wrong."""

    version: int | None
    aliased: int | None
    problem: str = ""


def build_status(client: MlflowClient, register: Register) -> BuildStatus | None:
    """Return the registry's status of the model in build/; None if nothing was registered from this folder.

    Raises:
        UserError: build/registered.json cannot be read.

    """
    if not paths.REGISTERED.is_file():
        return None
    candidate = candidate_in_build()
    if candidate is None or candidate.name != register.model:
        return BuildStatus(None, None, f"{paths.REGISTERED} tells of another model than {paths.FINETUNED}: `dvc repro`")
    candidate = replace(candidate, decision=built_decision(paths.EVIDENCE))
    version, aliased = (
        model_versions.find_version(client, candidate),
        ledger.alias_version(client, candidate.name, candidate.alias),
    )
    if version is None:
        return BuildStatus(None, aliased, _elsewhere())
    if aliased != version:
        points = "at nothing" if aliased is None else f"at version {aliased}"
        other = "" if aliased is None else f", or name the other by its number ({aliased})"
        problem = (
            f"{paths.BUILD}/ holds version {version} of {register.model}, but the alias {register.alias} points "
            f"{points}: `{MOVE}` moves it{other}"
        )
        return BuildStatus(version, aliased, problem)
    return BuildStatus(version, aliased)


def check(client: MlflowClient, register: Register, *named: str | None) -> None:
    """Refuse where one of the versions `named` is the challenger (or None), and build/ holds another model.

    Raises:
        UserError: it does; the message says which command settles it.

    """
    if not {None, register.alias} & set(named):
        return
    now = build_status(client, register)
    if now is not None and now.problem:
        raise UserError(f"{now.problem}.")


def _elsewhere() -> str:
    document = read_object(paths.REGISTERED, "pending", "version", "model")
    here, there = store_address.store_name(), document.get("store")
    if document["pending"]:
        return f"{paths.REGISTERED} is pending, and {here} does not have the model: `nsfw sync` registers it"
    where = f", registered in {there}," if there and there != here else ""
    return (
        f"{paths.REGISTERED} tells of version {document['version']} of {document['model']}{where} "
        f"which {here} does not have: `nsfw sync` registers it there"
    )
