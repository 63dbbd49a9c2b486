"""What came of the URLs, by reason and host, for JSON and for a terminal."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pipeline.web_ingest.batch import Batch
from pipeline.web_ingest.journal import STORED

_SHOWN = 8
_MANY = 8  # URLs with the same bytes, even of one host


@dataclass(frozen=True)
class Report:
    """The result of one ingest from the web.

    `reasons`: rows without stored bytes, by code. `hosts`: (rows, rows with stored bytes). `repeated`: contents that
    came from more than one host, or from many URLs, as (sha256, URLs, hosts), most URLs first: likely placeholders.
    """

    batch: Batch
    rows: int
    taken: int
    min_success: float
    reasons: dict[str, int]
    hosts: dict[str, tuple[int, int]]
    repeated: list[tuple[str, int, int]]

    @property
    def success(self) -> float:
        """The share of the rows whose bytes are stored."""
        return self.taken / self.rows

    @property
    def enough(self) -> bool:
        """Whether that share reaches the floor."""
        return self.success >= self.min_success

    def to_document(self) -> dict[str, Any]:
        """Return it for JSON."""
        counts = {name: getattr(self.batch, name) for name in ("sighted", "stored", "shards")}
        return {
            "batch": self.batch.name,
            "urls": self.rows,
            "taken": self.taken,
            "success": round(self.success, 4),
            "enough": self.enough,
            **counts,
            "reasons": self.reasons,
            "hosts": {host: {"urls": urls, "taken": taken} for host, (urls, taken) in self.hosts.items()},
            "repeated": [dict(zip(("sha256", "urls", "hosts"), row, strict=True)) for row in self.repeated],
            "changed": [dict(zip(("url", "before", "now"), row, strict=True)) for row in self.batch.changed],
        }

    def lines(self) -> list[str]:
        """Return the lines for a terminal."""
        new = f"{self.batch.sighted} new sightings, {self.batch.stored} new contents in {self.batch.shards} shards"
        return [
            f"{self.rows} URLs: {self.taken} with pictures ({self.success:.1%}); {new}",
            *_shown([f"{count} x {reason}" for reason, count in self.reasons.items()], "reasons"),
            *_shown([f"{host}: {taken} of {urls}" for host, (urls, taken) in self.hosts.items()], "hosts"),
            *_shown([_repeated(*row) for row in self.repeated], "contents"),
            *_shown([f"warning: other bytes than last time: {url}" for url, _, _ in self.batch.changed], "URLs"),
        ]


def report(batch: Batch, min_success: float) -> Report:
    """Return what came of a batch's rows."""
    failed = Counter(str(row["reason"]).partition(":")[0] for row in batch.rows if row["status"] != STORED)
    rows, taken = Counter[str](), Counter[str]()
    for row in batch.rows:
        rows[_host(row["origin"])] += 1
        taken[_host(row["origin"])] += row["status"] == STORED
    return Report(
        batch,
        len(batch.rows),
        batch.count(STORED),
        min_success,
        dict(failed.most_common()),
        {host: (count, taken[host]) for host, count in rows.most_common()},
        _repeated_contents(batch),
    )


def _repeated_contents(batch: Batch) -> list[tuple[str, int, int]]:
    urls: defaultdict[str, set[str]] = defaultdict(set)
    for row in batch.rows:
        if row["sha256"] is not None:
            urls[row["sha256"]].add(row["origin"])
    counts = [(sha256, len(seen), len({_host(url) for url in seen})) for sha256, seen in urls.items()]
    return sorted((row for row in counts if row[2] > 1 or row[1] >= _MANY), key=lambda row: (-row[1], row[0]))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "(no host)"
    except ValueError:
        return "(no host)"


def _repeated(sha256: str, urls: int, hosts: int) -> str:
    return f"{urls} URLs of {hosts} host{'s' if hosts > 1 else ''} have the same bytes (a placeholder?): {sha256}"


def _shown(lines: list[str], words: str) -> list[str]:
    more = [f"  and {len(lines) - _SHOWN} more {words}"] if len(lines) > _SHOWN else []
    return [*(f"  {line}" for line in lines[:_SHOWN]), *more]
