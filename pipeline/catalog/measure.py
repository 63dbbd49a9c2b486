"""Measure a content for the catalog, and its fingerprint: in one decode, at reduced scale."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline.catalog.quality import quality
from pipeline.data import shards
from pipeline.duplicates.fingerprint import Fingerprint, fingerprint
from pipeline.images import sandbox
from pipeline.images.decode import Picture, decode_small
from pipeline.images.limits import Limits


class Measure(NamedTuple):
    """Measures of an upright, decoded picture; width, height in px; sharpness, entropy, quality as in `Quality`."""

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    frames: int
    sharpness: float
    entropy: float
    quality: float


_NO_MEASURES = (*Measure("", "", 0, 0, 0, 0, 0.0, 0.0, 0.0), *Fingerprint(b"", b"", 0.0, 0.0))

# A row of a shard's results: the content's member, why it is unusable (`code: detail`, or ""), its measures.
ROW = (*shards.Member._fields, "reason", *Measure._fields, *Fingerprint._fields)
RESULT = (*shards.Member._fields, "reason", *Measure._fields, "frame")  # without the large fingerprint


def measure(picture: Picture) -> Measure:
    """Measure a picture that `decode_small` decoded."""
    score = quality(picture.image)
    about = (picture.format, picture.mode, picture.width, picture.height, picture.orientation, picture.frames)
    return Measure(*about, round(score.sharpness, 3), round(score.entropy, 4), round(score.score, 4))


def measure_shard(limits: Limits, cost: sandbox.WorkerLimits, shard: Path) -> list[tuple[object, ...]]:
    """Return a row of `ROW` for each content of a shard, decoded in sandbox workers."""
    members = shards.list_members(shard)
    outcomes = sandbox.run(_measuring(limits, shard.parent), members, cost)
    return [_row(member, outcome) for member, outcome in zip(members, outcomes, strict=True)]


def measure_alone(
    limits: Limits, cost: sandbox.WorkerLimits, folder: Path, members: Sequence[shards.Member]
) -> list[tuple[object, ...]]:
    """Return a row for each content, one after the other, each in a fresh worker and with one try."""
    function = _measuring(limits, folder)
    outcomes = (sandbox.submit(function, member, cost, fresh=True).result() for member in members)
    return [_row(member, outcome) for member, outcome in zip(members, outcomes, strict=True)]


def _measuring(limits: Limits, folder: Path) -> partial[tuple[Measure, Fingerprint]]:
    return partial(_measure_member, folder.absolute(), limits)  # a worker may have been started in another directory


def _measure_member(folder: Path, limits: Limits, member: shards.Member) -> tuple[Measure, Fingerprint]:
    picture = decode_small(shards.read(folder, member), limits)
    return measure(picture), fingerprint(picture.image)


def _row(member: shards.Member, outcome: tuple[Measure, Fingerprint] | sandbox.Failure) -> tuple[object, ...]:
    if isinstance(outcome, sandbox.Failure):
        return (*member, str(outcome), *_NO_MEASURES)
    measures, fingerprinted = outcome
    return (*member, "", *measures, *fingerprinted)
