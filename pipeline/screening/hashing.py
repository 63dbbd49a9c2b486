"""The PDQ hashes of a content's frames, from its bytes; for sandbox workers."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.images.limits import FORMATS, Limits
from pipeline.images.luma import at_most, decode_luma
from pipeline.params.catalog import Catalog
from pipeline.screening.pdq import HASH_BYTES, LEAST_SIDE, SIDE, pdq

_ANY_ASPECT = 1e9


class FrameHashes(NamedTuple):
    """The PDQ hashes of a frame, one after the other, its own first; and its quality, 0 to 100."""

    hashes: bytes
    quality: int

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """The hashes as uint8 (n, 32)."""
        return np.frombuffer(self.hashes, np.uint8).reshape(-1, HASH_BYTES)

    @property
    def own(self) -> str:
        """The frame's own hash, in hexadecimal digits."""
        return self.hashes[:HASH_BYTES].hex()


@dataclass(frozen=True)
class Hasher:
    """Hashes what a picture shows, of any size and format that can be opened at all."""

    limits: Limits

    @classmethod
    def of(cls, catalog: Catalog) -> "Hasher":
        """Return one that opens more than the catalog does: what that refuses may be allowed one day."""
        wide = {"min_side": LEAST_SIDE, "max_aspect": _ANY_ASPECT, "formats": FORMATS}
        return cls(Limits(**(catalog.limits | wide)))

    def of_bytes(self, data: bytes) -> list[FrameHashes]:
        """Return the hashes of each frame that a model would look at.

        Raises:
            Rejected, MemoryError: as `images.decode.decode` does.

        """
        return decode_luma(data, of_grey, SIDE, self.limits)


def of_grey(image: Image.Image) -> FrameHashes:
    """Return the hashes of a frame in grey (mode L)."""
    hashed = pdq(np.asarray(image))
    return FrameHashes(hashed.hashes.tobytes(), hashed.quality)


def of_frame(image: Image.Image) -> FrameHashes:
    """Return the hashes of an upright RGB frame, of any size."""
    return of_grey(at_most(image.convert("L"), SIDE))
