"""The model that somebody asks for by name: production as it may serve, another version, or a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.registry import state, verification
from pipeline.registry.package import SHA_TAG, SPEC_FILE
from pipeline.registry.verification import Verified
from pipeline.tracking import server
from pipeline.tracking.lineage import digest

if TYPE_CHECKING:
    from pipeline.params.root import Params

_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


def open_model(params: Params, asked: str | None = None, *, allow_unverified: bool = False) -> Verified:
    """Return what `asked` names: models:/NAME/3, models:/NAME@alias, a number, an alias, or a folder; None: production.

    Production is what `service.verify` lets serve. Another version is what was registered, by its digest: whoever names
    it knows that it went through no gates. A folder is one of a version's (`mlflow artifacts download`), by the digest
    in its model.json.

    Raises:
        UserError: there is no such model, it may not serve, or its file has changed.
        Unreachable: the server does not answer.

    """
    name = params.register_.production if asked is None else asked
    if name != params.register_.production and Path(name).is_dir():
        return _folder(Path(name))
    name = _named(name, params.register_.model)
    if name == params.register_.production:
        return verification.verify(params, allow_unverified=allow_unverified)
    with server.session() as client:
        now = state.read(client, params.register_)
        version = state.resolve(now, name, params.register_)
        folder, spec = verification.fetch_model(client, now.model, version)
        tag = client.get_model_version(now.model, str(version)).tags.get(SHA_TAG)
    return _checked(Verified(now.model, version, folder, spec), tag)


def title(model: Verified) -> str:
    """Return what a row says it was scored by: name/version, or the digest of a folder's model."""
    return f"{model.model}/{model.version}" if model.version else str(model.spec["model_sha256"])


def _named(asked: str, model: str) -> str:
    """Return the number or alias in a models:/ URI, or what is none as it is."""
    if not asked.startswith("models:"):
        if not re.fullmatch(r"[\w.-]+", asked):
            raise UserError(
                f"{asked} is no folder, and no version or alias: models:/{model}/3, production, or a folder."
            )
        return asked
    parts = _URI.fullmatch(asked)
    if parts is None:
        raise UserError(f"{asked!r} is no model's address: models:/{model}/3, or models:/{model}@production.")
    if parts["name"] != model:
        raise UserError(f"{asked} is another registered model's; this project's is {model} (register.model).")
    return parts["version"] or parts["alias"]


def _folder(root: Path) -> Verified:
    for folder in (root / "artifacts", root):  # of the whole MLflow model, or of its artifacts alone
        if (folder / SPEC_FILE).is_file():
            spec = _spec(folder / SPEC_FILE)
            return _checked(Verified(str(root), 0, folder, spec), spec.get("model_sha256"))
    raise UserError(
        f"{root} holds no {SPEC_FILE}, which tells how a model is read. "
        "`mlflow artifacts download -u models:/nsfw/1 -d DIR` fetches a version whole."
    )


def _spec(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}). Fetch the version again.") from None
    return document if isinstance(document, dict) else {}


def _checked(found: Verified, sha256: str | None) -> Verified:
    what = f"version {found.version} of {found.model}" if found.version else found.model
    if not found.spec or not found.model_file.exists() or digest(found.model_file) != sha256:
        raise UserError(f"{what} is not a model of ours, or its file has changed: it is not loaded.")
    return found
