"""Raw contents to training pixels: upright, RGB, at the model's size, encoded once."""

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image

from pipeline.data import shards
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from pipeline.images.preprocessing import Squaring
from pipeline.images.undecodable import undecodable


def encode(image: Image.Image, encoding: Literal["png", "jpeg"], jpeg_quality: int) -> bytes:
    """Return an RGB picture as PNG (lossless, quick to write) or as JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    if encoding == "png":
        image.save(buffer, "PNG", compress_level=3)
    else:
        image.save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
    return buffer.getvalue()


@dataclass(frozen=True)
class Packing:
    """How to pack: from which folder of shards, within which limits, to which side (px) and encoding."""

    folder: Path
    limits: Limits
    size: int
    encoding: Literal["png", "jpeg"]
    jpeg_quality: int

    def pack(self, member: shards.Member) -> bytes:
        """Return one content as encoded (size, size, 3) pixels; for a sandbox worker."""
        square = Squaring(self.limits, self.size).from_bytes(shards.read(self.folder, member))
        return encode(Image.fromarray(square), self.encoding, self.jpeg_quality)


def pack_all(packing: Packing, cost: sandbox.Limits, members: tuple[shards.Member, ...]) -> list[bytes]:
    """Return each member's encoded pixels, in order.

    Raises:
        UserError: a picture that the catalog decoded does not decode now (a slow machine, or another Pillow).

    """
    encoded = []
    for member, outcome in zip(members, sandbox.run(partial(Packing.pack, packing), members, cost), strict=True):
        if isinstance(outcome, sandbox.Failure):
            raise undecodable(member, outcome, "packed")
        encoded.append(outcome)
    return encoded
