"""What record.json of a run record holds when its run starts."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pipeline.tracking import lineage
from pipeline.tracking.owner_process import this_process

Kind = Literal["train", "finetune", "tune", "trial", "import", "monitor"]


def initial(
    kind: Kind,
    params: Mapping[str, Any],
    inputs: Sequence[Path],
    *,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    resumable: Path | None = None,
) -> dict[str, Any]:
    """Return the document of a run that starts now; the arguments are those of `RunRecord.start`.

    Raises:
        UserError: an input does not exist.

    """
    now = datetime.now(UTC)
    return {
        "id": f"{now:%Y%m%dT%H%M%SZ}-{kind}-{secrets.token_hex(4)}",
        "kind": kind,
        "name": name or f"{kind} {now:%Y-%m-%d %H:%M:%S}",
        "started_at": now.isoformat(),
        "finished_at": None,
        "status": "RUNNING",
        "reason": "",
        "params": flatten(params),
        "tags": dict(tags or {}),
        "lineage": lineage.capture(),
        "inputs": [lineage.describe_input(path) for path in inputs],
        "process": this_process(),
        "resumed": 0,
        "resumable": None if resumable is None else str(resumable),
    }


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `nested` with dotted keys; lists and single values stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
