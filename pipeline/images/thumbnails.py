"""Thumbnails for pages where people look at pictures: made in sandbox workers on demand, and cached as files.

The cache, .cache/thumbnails/, holds pixels: who removes a picture erases them (`erase`).
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from pipeline.core import files, paths
from pipeline.data import shards
from pipeline.images import previews, sandbox
from pipeline.images.limits import Limits

SIDE = 256  # px of the longer side
_QUALITY = 75


def path_of(sha256: str) -> Path:
    """Return where a picture's thumbnail is cached; a name that is no sha256 in hexadecimal digits is an error."""
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"{sha256!r} is no sha256")
    return paths.THUMBNAILS / str(SIDE) / sha256[:2] / f"{sha256}.jpg"


def read(member: shards.Member, folder: Path, limits: Limits, cost: sandbox.WorkerLimits) -> bytes | None:
    """Return a picture as a JPEG of `SIDE` px, upright, without metadata; None if it no longer decodes.

    `folder` holds the shards. It is made in a worker, unless it is cached; several threads may call this at once.
    """
    path = path_of(member.sha256)
    if path.is_file():
        return path.read_bytes()
    outcome = sandbox.submit(partial(previews.encode, folder.absolute(), limits, SIDE, _QUALITY), member, cost).result()
    if isinstance(outcome, sandbox.Failure):
        return None
    with files.atomic(path) as temporary:
        temporary.write_bytes(outcome)
    return outcome


def erase(sha256: Iterable[str]) -> int:
    """Delete the cached thumbnails of these pictures, of every size; return how many there were."""
    count = 0
    for digest in sha256:
        for path in paths.THUMBNAILS.glob(f"*/{digest[:2]}/{digest}.jpg"):
            path.unlink(missing_ok=True)
            count += 1
    return count
