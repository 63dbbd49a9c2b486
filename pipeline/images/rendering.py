"""Render raw contents as model input, at any size, plain or distorted: in sandbox workers, a few at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.core import executor
from pipeline.data import shards
from pipeline.images import sandbox
from pipeline.images.decode import decode
from pipeline.images.distortions import DISTORTIONS
from pipeline.images.limits import Limits
from pipeline.images.preprocessing import Preprocessor
from pipeline.images.resize import SQUASH, Resize, to_square
from pipeline.images.undecodable import undecodable_error

PLAIN = "plain"
_CHUNK_BYTES = 64 * 2**20  # of rendered pixels in one chunk

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Renderer:
    """Renders pictures of the shards in `folder`, within `limits`, at `size` px, in `forms`: plain or distortions.

    `resize` says how they become squares.
    """

    folder: Path
    limits: Limits
    size: int
    forms: tuple[str, ...] = (PLAIN,)
    resize: Resize = SQUASH

    def render(self, member: shards.Member) -> Pixels:
        """Return uint8 (forms, size, size, 3) of one content; for a sandbox worker.

        A distortion applies to the original picture, before it is resized, as it does when a picture is shared.
        """
        data = shards.read(self.folder, member)
        plain = Preprocessor(self.limits, self.size, self.resize).from_bytes(data)
        if self.forms == (PLAIN,):
            return plain[None]
        image = decode(data, self.limits).image
        squares = [
            plain if form == PLAIN else to_square(DISTORTIONS[form](image), self.size, self.resize)
            for form in self.forms
        ]
        return np.stack(squares)


def render_chunk(renderer: Renderer, cost: sandbox.WorkerLimits, members: tuple[shards.Member, ...]) -> Pixels:
    """Return uint8 (members, forms, size, size, 3), in order.

    Raises:
        UserError: a picture that the catalog decoded does not decode now (a slow machine, or another Pillow).

    """
    rendered = []
    for member, outcome in zip(members, sandbox.run(partial(Renderer.render, renderer), members, cost), strict=True):
        if isinstance(outcome, sandbox.Failure):
            raise undecodable_error(member, outcome, "rendered")
        rendered.append(outcome)
    return np.stack(rendered)


def render_all(renderer: Renderer, cost: sandbox.WorkerLimits, members: Sequence[shards.Member]) -> Iterator[Pixels]:
    """Yield uint8 (n, forms, size, size, 3) chunks of all members, in order, about 64 MiB each.

    `cost`: the limits of one form of one picture; each form may take that long. The workers are this machine's cores.
    """
    one = len(renderer.forms) * renderer.size**2 * 3
    step = max(1, min(256, _CHUNK_BYTES // one))
    whole = sandbox.WorkerLimits(cost.seconds * len(renderer.forms), cost.memory_mb, executor.cores())
    # One chunk after another, on workers that stay: a process pool around this would start again with each call.
    for start in range(0, len(members), step):
        yield render_chunk(renderer, whole, tuple(members[start : start + step]))
