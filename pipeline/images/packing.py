"""Pack raw contents as training pixels: upright, RGB, at the model's size, encoded once."""

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image

from pipeline.data import shards
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from pipeline.images.preprocessing import Preprocessor
from pipeline.images.undecodable import undecodable_error


def encode(image: Image.Image, encoding: Literal["png", "jpeg"], jpeg_quality: int) -> bytes:
    """Return an RGB picture as PNG (lossless, quick to write) or as JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    if encoding == "png":
        image.save(buffer, "PNG", compress_level=3)
    else:
        image.save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
    return buffer.getvalue()


@dataclass(frozen=True)
class Packer:
    """Packs pictures from a folder of shards, within `limits`, as squares of `size` px in one encoding."""

    folder: Path
    limits: Limits
    size: int
    encoding: Literal["png", "jpeg"]
    jpeg_quality: int

    def pack(self, member: shards.Member) -> bytes:
        """Return one content as encoded (size, size, 3) pixels; for a sandbox worker."""
        square = Preprocessor(self.limits, self.size).from_bytes(shards.read(self.folder, member))
        return encode(Image.fromarray(square), self.encoding, self.jpeg_quality)


def pack_all(packer: Packer, cost: sandbox.WorkerLimits, members: tuple[shards.Member, ...]) -> list[bytes]:
    """Return each member's encoded pixels, in order.

    Raises:
        UserError: a picture that the catalog decoded does not decode now (a slow machine, or another Pillow).

    """
    encoded = []
    for member, outcome in zip(members, sandbox.run(partial(Packer.pack, packer), members, cost), strict=True):
        if isinstance(outcome, sandbox.Failure):
            raise undecodable_error(member, outcome, "packed")
        encoded.append(outcome)
    return encoded
