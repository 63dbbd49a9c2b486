"""Which registered version is asked for: production, checked as what serves; any other, by the digest of its file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.promotion import service, state
from pipeline.promotion.service import Verified
from pipeline.tracking import server
from pipeline.tracking.lineage import digest
from pipeline.tracking.package import SHA_TAG

if TYPE_CHECKING:
    from pipeline.params import Params

_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


def chosen(params: Params, asked: str | None) -> Verified:
    """Return the version that `asked` names: models:/NAME/3, models:/NAME@alias, a number or an alias; None: production.

    Raises:
        UserError: there is no such version, or its file is not the one that was registered.
        Unreachable: the server does not answer.

    """
    name = params.register_.production if asked is None else _named(asked, params.register_.model)
    if name == params.register_.production:
        return service.verify(params)
    with server.session() as client:
        now = state.read(client, params.register_)
        version = state.resolve(now, name, params.register_)
        folder, spec = service.fetch_model(client, now.model, version)
        tag = client.get_model_version(now.model, str(version)).tags.get(SHA_TAG)
    found = Verified(now.model, version, folder, spec)
    if not spec or not found.model_file.exists() or digest(found.model_file) != tag:
        raise UserError(f"version {version} is not a model of ours, or its file has changed: it is not loaded.")
    return found


def _named(asked: str, model: str) -> str:
    """Return the number or alias in a models:/ URI, or what is none as it is."""
    if not asked.startswith("models:"):
        return asked
    parts = _URI.fullmatch(asked)
    if parts is None:
        raise UserError(f"{asked!r} is no model's address: models:/{model}/3, or models:/{model}@challenger.")
    if parts["name"] != model:
        raise UserError(f"{asked} is another registered model's; this project's is {model} (register.model).")
    return parts["version"] or parts["alias"]
