"""Converts a run record to MLflow's tags, params and inputs, under names that MLflow accepts."""

from __future__ import annotations

import getpass
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.tracking.run_record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

ID_TAG = "nsfw.record_id"
PARENT_TAG = "nsfw.parent"  # the record id of the run that this one belongs under
_SOURCES = {"tune": "nsfw tune", "trial": "nsfw tune", "import": "nsfw import-model", "monitor": "nsfw monitor"}
_PARAMS_LIMIT = 100  # of one request


def run_tags(record: RunRecord) -> dict[str, str]:
    """Return the tags of a record's run: its id, its lineage and the record's own tags."""
    tags = {
        ID_TAG: record.id,
        "nsfw.kind": record.kind,
        "mlflow.source.name": _SOURCES.get(record.kind, f"dvc repro {record.kind}"),
    }
    with suppress(OSError, KeyError):  # a user without a name, in a container
        tags["mlflow.user"] = getpass.getuser()
    lineage = record.document.get("lineage") or {}
    tags |= lineage_tags(lineage) | _machine_tags(lineage)
    commit = tags.get("nsfw.git_commit")
    if commit:
        tags["mlflow.source.git.commit"] = commit
    return tags | {key(name): str(value) for name, value in record.document.get("tags", {}).items()}


def lineage_tags(lineage: Mapping[str, Any]) -> dict[str, str]:
    """Return the code and data of a lineage as MLflow tags, without the fields that are null."""
    git = lineage.get("git") or {}
    dirty = None if git.get("dirty") is None else str(git["dirty"]).lower()
    values = {"git_commit": git.get("commit"), "git_dirty": dirty, "git_tree": git.get("tree")}
    return _prefixed_tags(values | {"data_md5": lineage.get("data_md5")})


def _machine_tags(lineage: Mapping[str, Any]) -> dict[str, str]:
    hardware = lineage.get("hardware") or {}
    values = {
        "python": lineage.get("python"),
        "cpu": hardware.get("cpu"),
        "cores": hardware.get("cores"),
        "gpus": "; ".join(hardware.get("gpus") or []) or None,
    }
    return _prefixed_tags(
        values | {f"version.{name}": version for name, version in (lineage.get("packages") or {}).items()}
    )


def _prefixed_tags(values: Mapping[str, object]) -> dict[str, str]:
    return {f"nsfw.{name}": str(value) for name, value in values.items() if value is not None}


def log_facts(client: MlflowClient, run_id: str, record: RunRecord) -> None:
    """Log a record's params and inputs; logging them again changes nothing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    params = [Param(key(name), _text(value)) for name, value in record.document.get("params", {}).items()]
    for chunk in chunks(params, _PARAMS_LIMIT):
        client.log_batch(run_id, params=chunk)
    inputs = [
        DatasetInput(
            Dataset(
                name=entry["name"],
                digest=entry["digest"][:32],  # MLflow takes 36 characters
                source_type="local",
                source=json.dumps({"uri": entry["path"], "sha256": entry["digest"]}),
                profile=None if entry["rows"] is None else json.dumps({"num_rows": entry["rows"]}),
            ),
            tags=[InputTag("mlflow.data.context", record.kind)],
        )
        for entry in record.document.get("inputs", [])
    ]
    if inputs:
        client.log_inputs(run_id, datasets=inputs)


def _text(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:6000]


def key(name: str) -> str:
    """Return `name` with _ for each character that MLflow refuses in the name of a metric, param or tag."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]


def milliseconds(moment: str) -> int:
    """Return an ISO timestamp as milliseconds since 1970, as MLflow counts time."""
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield `items` in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
