"""What the catalog knows of a content, measured in one decode."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline.images import sandbox, shards
from pipeline.images.decode import Limits, Picture, decode
from pipeline.images.quality import quality


class Measure(NamedTuple):
    """Of an upright, decoded picture; width, height in px; sharpness, entropy, quality as `quality` gives them."""

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    frames: int
    sharpness: float
    entropy: float
    quality: float


_NOTHING = Measure("", "", 0, 0, 0, 0, 0.0, 0.0, 0.0)

# A shard's results: where a content lies, why it cannot be used (code and detail; "" where it can), its measure.
RESULT = (*shards.Member._fields, "reason", *Measure._fields)


def measure(picture: Picture) -> Measure:
    """Measure a decoded picture."""
    score = quality(picture.image)
    about = (picture.format, picture.mode, picture.width, picture.height, picture.orientation, picture.frames)
    return Measure(*about, round(score.sharpness, 3), round(score.entropy, 4), round(score.score, 4))


def measure_shard(limits: Limits, cost: sandbox.Limits, shard: Path) -> list[tuple[object, ...]]:
    """Return a row of `RESULT` for each content of a shard, decoded in sandbox workers."""
    members = shards.list_members(shard)
    folder = shard.parent.absolute()  # a sandbox worker may have begun in another directory
    outcomes = sandbox.run(partial(_measure_member, folder, limits), members, cost)
    return [_row(member, outcome) for member, outcome in zip(members, outcomes, strict=True)]


def _measure_member(folder: Path, limits: Limits, member: shards.Member) -> Measure:
    return measure(decode(shards.read(folder, member), limits))


def _row(member: shards.Member, outcome: Measure | sandbox.Failure) -> tuple[object, ...]:
    if isinstance(outcome, sandbox.Failure):
        return (*member, str(outcome), *_NOTHING)
    return (*member, "", *outcome)
