"""What each registered version, and each version that the ledger names, needs to be rebuilt and judged again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.registry import evidence_store, ledger
from pipeline.registry.ledger_entries import Entry, parse
from pipeline.tracking.absent import or_none

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_KIND_TAG = "nsfw.kind"
_IMPORT = "import"


@dataclass(frozen=True)
class VersionNeeds:
    """The needs of one version.

    Attributes:
        name: the version, for messages.
        commit: the git commit that it was trained at; None if none is known.
        data_md5: the version of data/ that it was trained on, which that commit need not name; None if none is known.
        evidence: the digests of its evidence, the latest and those that it was promoted with.
        is_ours: whether this project has to be able to rebuild it: not if it was trained elsewhere, or belongs to
            another registered model of the same store.

    """

    name: str
    commit: str | None
    data_md5: str | None
    evidence: tuple[str, ...]
    is_ours: bool


def collect(client: MlflowClient, model: str) -> list[VersionNeeds]:
    """Return the needs of every version of `model`, of those that only its ledger names, and of other models'."""
    entries = list(_entries(client, model))
    promoted: dict[int, list[str]] = {}
    for entry, _ in entries:
        promoted.setdefault(entry.draft.version, []).append(entry.draft.evidence_sha256)
    needs, numbers = [], set()
    for version in ledger.versions_of(client, model):
        number = int(version.version)
        numbers.add(number)
        needs.append(_needs(client, version, f"version {number}", promoted.get(number, ()), is_ours=True))
    deleted = {entry.draft.version: row for entry, row in entries if entry.draft.version not in numbers}
    for number, row in sorted(deleted.items()):
        name = f"version {number} (of the ledger; deleted from the registry)"
        needs.append(_needs(client, row, name, promoted[number], is_ours=True))
    for name in _other_models(client, model):
        needs += [
            _needs(client, version, f"{name} version {version.version}", (), is_ours=False)
            for version in ledger.versions_of(client, name)
        ]
    return needs


def _entries(client: MlflowClient, model: str) -> Iterator[tuple[Entry, ModelVersion]]:
    """Yield each entry of the ledger that can be read, with the row that holds it: its run is the version's."""
    for row in ledger.versions_of(client, ledger.name_of(model)):
        entry = parse(int(row.version), row.tags.get(ledger.ENTRY_TAG, ""))
        if entry is not None:
            yield entry, row


def _other_models(client: MlflowClient, model: str) -> Iterator[str]:
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        yield from (row.name for row in page if row.name not in {model, ledger.name_of(model)})
        token = page.token
        if not token:
            return


def _needs(client: MlflowClient, version: ModelVersion, name: str, promoted: Any, *, is_ours: bool) -> VersionNeeds:
    run = or_none(lambda: client.get_run(version.run_id)) if version.run_id else None
    # As `nsfw trace` reads them: a version's own tags come first.
    tags: Mapping[str, str] = {**(run.data.tags if run else {}), **version.tags}
    evidence = {tags.get(evidence_store.EVIDENCE_TAG, ""), *promoted} - {""}
    return VersionNeeds(
        name,
        tags.get("nsfw.git_commit"),
        tags.get("nsfw.data_md5"),
        tuple(sorted(evidence)),
        is_ours and tags.get(_KIND_TAG) != _IMPORT,
    )
