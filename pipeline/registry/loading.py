"""Opens a model by its name: production as it may serve, another version, or a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.registry import state, verification
from pipeline.registry.package import SPEC_FILE
from pipeline.registry.verification import OpenedModel
from pipeline.tracking import server

if TYPE_CHECKING:
    from pipeline.params.root import Params

_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


def open_model(params: Params, requested: str | None = None, *, allow_unverified: bool = False) -> OpenedModel:
    """Return the model that `requested` names: models:/NAME/3, models:/NAME@alias, a number, an alias, or a folder.

    None means production, which is opened only if `verification.verify` lets it serve. Any other version is checked
    against the digest that it was registered with; it need not have passed any gates. A folder (as `mlflow artifacts
    download` writes it) is checked against the digest in its model.json.

    Raises:
        UserError: there is no such model, it may not serve, or its file has changed.
        Unreachable: the server does not answer.

    """
    name = params.register_.production if requested is None else requested
    if name != params.register_.production and Path(name).is_dir():
        return _open_folder(Path(name))
    name = _version_name(name, params.register_.model)
    if name == params.register_.production:
        return verification.verify(params, allow_unverified=allow_unverified)
    with server.session() as client:
        now = state.read(client, params.register_)
        version = state.resolve(now, name, params.register_)
        return verification.open_version(client, now.model, version)


def title(model: OpenedModel) -> str:
    """Return the model's name in results: name/version, or the digest of the model in a folder."""
    return f"{model.model}/{model.version}" if model.version else str(model.spec["model_sha256"])


def _version_name(requested: str, model: str) -> str:
    """Return the number or alias in a models:/ URI; other names are returned unchanged."""
    if not requested.startswith("models:"):
        if not re.fullmatch(r"[\w.-]+", requested):
            raise UserError(
                f"{requested} is no folder, and no version or alias: models:/{model}/3, production, or a folder."
            )
        return requested
    parts = _URI.fullmatch(requested)
    if parts is None:
        raise UserError(f"{requested!r} is no model's address: models:/{model}/3, or models:/{model}@production.")
    if parts["name"] != model:
        raise UserError(f"{requested} is another registered model's; this project's is {model} (register.model).")
    return parts["version"] or parts["alias"]


def _open_folder(root: Path) -> OpenedModel:
    for folder in (root / "artifacts", root):  # the whole MLflow model, or only its artifacts
        if (folder / SPEC_FILE).is_file():
            spec = _spec(folder / SPEC_FILE)
            return verification.check_digest(OpenedModel(str(root), 0, folder, spec), spec.get("model_sha256"))
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
