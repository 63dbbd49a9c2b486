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
    outcomes = sandbox.run(partial(_preview, folder.absolute(), limits), members, cost) if members else iter(())
    return [None if isinstance(outcome, sandbox.Failure) else outcome for outcome in outcomes]


def _preview(folder: Path, limits: Limits, member: shards.Member) -> bytes:
    image = decode(shards.read(folder, member), limits).image
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
