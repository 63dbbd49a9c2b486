"""From archives to a batch of data/: a row for every sample, for what img2dataset could not download, and for damage.

    archives = find([Path("shards")])
    check_labels(archives, rule, max_bytes)
    result = Intake(archives, rule, max_bytes).write(paths.DATA, "laion")

Nothing is unpacked to disk. Of a plain archive pictures are read one at a time, of a compressed one with their sample.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.data import folder, folder_advice, ingesting
from pipeline.data.escalations import Screen
from pipeline.data.ingesting import IngestResult, Taken
from pipeline.images.byte_source import load
from pipeline.images.limits import Rejected
from pipeline.tar_ingest import download_tables
from pipeline.tar_ingest.archives import Archive
from pipeline.tar_ingest.labels import LabelRule
from pipeline.tar_ingest.samples import Sample, origin_of, samples

_SHOWN = 8


@dataclass
class Intake:
    """Archives on their way into data/, and what was met there.

    `rows`: samples, those that are listed only, and damages. `reasons`: rows without a picture to take, by code.
    `warnings`: damaged archives and tables. `skipped`: files that programs leave, by name.
    """

    archives: Sequence[Archive]
    rule: LabelRule
    max_bytes: int
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def write(
        self,
        data: Path,
        source: str,
        *,
        screen: Screen | None = None,
        advance: Callable[[], object] = lambda: None,
    ) -> IngestResult:
        """Append what is new to `data` as one batch; `advance` is called for each row.

        Raises:
            UserError: nothing could be ingested, or a screen is out of service; nothing is written then.

        """
        folder.prepare(data)
        taken = self._counted(advance)
        return ingesting.append(data, source, taken, door="ingest tars", screen=screen, nothing=self._nothing)

    def lines(self, result: IngestResult) -> list[str]:
        """Return the result for a terminal."""
        return [
            *result.lines(f"{self.rows} samples of {len(self.archives)} archives"),
            *[f"  {count} x {code}" for code, count in self.reasons.most_common(_SHOWN)],
            *[f"warning: {line}" for line in self.warnings[:_SHOWN]],
            *([f"  and {len(self.warnings) - _SHOWN} more warnings"] if len(self.warnings) > _SHOWN else []),
            *([folder_advice.describe_skipped(self.skipped)] if self.skipped else []),
        ]

    def to_document(self, result: IngestResult) -> dict[str, Any]:
        """Return the result for JSON."""
        counts = {"archives": len(self.archives), "samples": self.rows, "reasons": dict(self.reasons.most_common())}
        return counts | {"warnings": self.warnings, "skipped": dict(sorted(self.skipped.items())), **vars(result)}

    def _nothing(self, refusals: Sequence[str]) -> str:
        lines = ["No sample could be taken; nothing was written."]
        return "\n".join([*lines, *(f"  {count} x {why}" for why, count in Counter(refusals).most_common(_SHOWN))])

    def _counted(self, advance: Callable[[], object]) -> Iterator[Taken]:
        for archive in self.archives:
            for taken in self._of_archive(archive):
                self.rows += 1
                if taken.content is None:
                    self.reasons[taken.reason.partition(":")[0]] += 1
                advance()
                yield taken

    def _of_archive(self, archive: Archive) -> Iterator[Taken]:
        if archive.problem:
            yield self._damage(archive, archive.name, archive.problem)
            return
        listed = download_tables.read(archive.table, self.rule.key)
        if isinstance(listed, str):
            yield self._damage(archive, f"{archive.name}: its table", listed)
            listed = []
        missing = {row.key for row in listed if row.status == download_tables.SUCCESS}
        for sample in samples(archive, self.max_bytes, self.skipped):
            missing.discard(sample.base)
            yield self._of_sample(archive, sample) if sample.key else self._damage(archive, archive.name, sample.damage)
        for row in listed:
            if row.status != download_tables.SUCCESS:
                why = " ".join((row.message or row.status).split())[:200]
                yield self._not_there(archive, row, f"not_downloaded: {why}")
            elif row.key in missing:
                yield self._not_there(archive, row, "missing: its table lists it, and the archive does not hold it")

    def _of_sample(self, archive: Archive, sample: Sample) -> Taken:
        about, problem = sample.about()
        label, no_label = self.rule.of((archive.folder, sample.folder), about, problem)
        name, size = (sample.picture.name, sample.picture.size) if sample.picture else (sample.key, 0)
        origin = origin_of(about.get("url"), archive, name)
        reason, content = sample.problem or no_label, None
        if sample.picture is not None and not reason:
            try:
                content = load(sample.picture.content, self.max_bytes)
            except Rejected as rejected:
                reason = str(rejected)
        return Taken(label, origin, archive.modified, size, content, reason, name)

    def _not_there(self, archive: Archive, row: download_tables.Row, reason: str) -> Taken:
        label, _ = self.rule.of((archive.folder,), {self.rule.key: row.label} if self.rule.key else {})
        return Taken(label, origin_of(row.url, archive, row.key), archive.modified, 0, None, reason, row.key)

    def _damage(self, archive: Archive, what: str, problem: str) -> Taken:
        self.warnings.append(f"{what}: {problem}")
        return Taken(None, what, archive.modified, archive.size, None, problem, "")


def check_labels(archives: Sequence[Archive], rule: LabelRule, max_bytes: int) -> None:
    """Raise UserError if no sample of any archive has a label; reads up to the first that has one."""
    reasons, keys = Counter[str](), Counter[str]()
    for archive in archives:
        for sample in () if archive.problem else samples(archive, max_bytes, Counter()):
            about, problem = sample.about()
            label, reason = rule.of((archive.folder, sample.folder), about, problem)
            if label is not None:
                return
            reasons[reason if sample.key else sample.damage] += 1
            keys.update(str(key)[:40] for key in list(about)[:20])
    if reasons:
        listed = "".join(f"\n  {count} x {reason}" for reason, count in reasons.most_common(_SHOWN))
        raise UserError(
            f"No sample has a label that params.yaml knows; nothing was written.{listed}\n"
            f"  known (labels.names): {', '.join(map(repr, rule.known))}\n{_way_out(rule, keys)}"
        )


def _way_out(rule: LabelRule, keys: Counter[str]) -> str:
    if rule.key is not None:
        listed = ", ".join(key for key, _ in keys.most_common(20)) or "no keys"
        return f"Name the key of the label with --label-key (the json has {listed}), or one label for all with --label."
    return (
        "Name one label for all with --label, or a key of the samples' json with --label-key; or put the archives, or "
        "the members in them, into folders with the labels' names."
    )


def default_source(given: Sequence[Path]) -> str:
    """Return a source name made of the first archive's or folder's own name."""
    first = given[0]
    return folder.default_source(first if first.is_dir() else first.with_name(first.name.partition(".")[0] or "tars"))
