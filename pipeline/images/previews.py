"""Small colour pictures for people to look at: decoded in sandbox workers, as JPEG."""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data import shards
from pipeline.images import sandbox
from pipeline.images.decode import decode
from pipeline.images.limits import Limits

SIDE = 96  # px of the longer side
_QUALITY = 60


def previews(
    members: Sequence[shards.Member], folder: Path, limits: Limits, cost: sandbox.WorkerLimits
) -> list[bytes | None]:
    """Return each content as a JPEG of `SIDE` px, upright, without metadata; None if it no longer decodes."""
    worker = partial(encode, folder.absolute(), limits, SIDE, _QUALITY)
    outcomes = sandbox.run(worker, members, cost) if members else iter(())
    return [None if isinstance(outcome, sandbox.Failure) else outcome for outcome in outcomes]


def encode(folder: Path, limits: Limits, side: int, quality: int, member: shards.Member) -> bytes:
    """Return a content as a JPEG of `side` px, upright, without metadata; runs in a sandbox worker."""
    image = decode(shards.read(folder, member), limits).image
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
