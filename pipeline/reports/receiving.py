"""Take a report of the demo page into the inbox, within its limits.

    receipt = receiving.receive(submission, "192.0.2.7", params)

An address whose limit is used up, or that reports the same picture again, changes nothing but a counter.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.params.reports import Reports
from pipeline.params.root import Params
from pipeline.reports import inbox, limits, pictures
from pipeline.reports.inbox import Report

_MB = 2**20

Status = Literal["new", "repeated", "refused", "full"]


@dataclass(frozen=True)
class ModelAnswer:
    """A model's answer about a picture; the fields are those of `inbox.Report`."""

    model: str
    version: str
    scores: Mapping[str, float]
    decision: str
    sha256: str
    hashes: bytes


@dataclass(frozen=True)
class Submission:
    """What a person reports: a model's answer, and what is right.

    `picture`: the bytes that were sent, only with consent; None without.
    """

    answer: ModelAnswer
    expected_label: str
    comment: str
    picture: bytes | None = None


@dataclass(frozen=True)
class Receipt:
    """What became of a report: `refused`, its address has used up its limit; `full`, the inbox takes no more.

    `report`: its id, "" if it was not taken.
    """

    status: Status
    report: str = ""


def receive(submission: Submission, address: str, params: Params) -> Receipt:
    """Store a report.

    Raises:
        UserError: its label is none of labels.names, its comment is too long, its picture is another than was
            classified, or cannot be decoded.

    """
    comment = _check(submission, params)
    with inbox.connect() as database:
        source = limits.source_of(database, address)
        early = _early(database, submission, source, params.reports)
        if early is not None:
            return early
    name = encoded = ""
    if submission.picture is not None:
        content = pictures.pixels_alone(params, submission.picture)
        name, encoded = f"{secrets.token_hex(16)}.png", hashlib.sha256(content).hexdigest()
        with files.atomic(inbox.PICTURES / name) as temporary:
            temporary.write_bytes(content)
        (inbox.PICTURES / name).chmod(0o600)
    report = Report(
        id=inbox.new_id(),
        created_at=inbox.now(),
        **asdict(submission.answer),
        expected_label=submission.expected_label,
        comment=comment,
        source=source,
        picture=name,
        picture_sha256=encoded,
    )
    return _store(report)


def _check(submission: Submission, params: Params) -> str:
    """Return the comment without control characters."""
    if submission.expected_label not in params.labels.names:
        raise UserError(f"the right label must be one of {', '.join(params.labels.names)}")
    comment = "".join(sign if sign.isprintable() else " " for sign in submission.comment).strip()
    most = params.reports.comment_length
    if len(comment) > most:
        raise UserError(f"the comment has {len(comment)} characters; it may have {most}")
    if submission.picture is not None and hashlib.sha256(submission.picture).hexdigest() != submission.answer.sha256:
        raise UserError("the picture is not the one that was classified: classify it again, then report it")
    return comment


def _early(database: sqlite3.Connection, submission: Submission, source: str, own: Reports) -> Receipt | None:
    """Return the receipt of a report that is not stored; None if there is room for it."""
    if not limits.take(database, source, own):
        inbox.count(database, "refused")
        return Receipt("refused")
    if _repeated(database, submission.answer.sha256, source):
        return Receipt("repeated")
    waiting = database.execute("SELECT count(*) FROM reports WHERE state IN (?, ?)", inbox.OPEN).fetchone()[0]
    stored = sum(path.stat().st_size for path in inbox.PICTURES.iterdir()) if submission.picture is not None else 0
    if waiting >= own.open_reports or stored >= own.pictures_mb * _MB:
        inbox.count(database, "full")
        return Receipt("full")
    return None


def _repeated(database: sqlite3.Connection, sha256: str, source: str) -> bool:
    changed = database.execute(
        "UPDATE reports SET count = count + 1 WHERE sha256 = ? AND source = ?", (sha256, source)
    ).rowcount
    if changed:
        inbox.count(database, "repeated")
    return bool(changed)


def _store(report: Report) -> Receipt:
    try:
        with inbox.connect() as database:
            if _repeated(database, report.sha256, report.source):  # two requests at once
                inbox.delete_picture(report)
                return Receipt("repeated")
            inbox.insert(database, report)
    except BaseException:
        inbox.delete_picture(report)
        raise
    return Receipt("new", report.id)
