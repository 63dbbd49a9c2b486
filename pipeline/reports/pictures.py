"""A reported picture, opened in a sandbox worker: its perceptual hashes, and its pixels alone as a PNG.

What is stored is encoded anew from decoded, upright pixels: no metadata (EXIF, GPS, comments, profiles) and no trailing
bytes of the file that was sent can be in it. Of an animation it is the representative frame.
"""

import io
from functools import partial

import numpy as np
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.duplicates.fingerprint import fingerprint
from pipeline.images import sandbox
from pipeline.images.decode import decode, decode_small
from pipeline.images.limits import Limits
from pipeline.params.root import Params


def perceptual_hashes(limits: Limits, blank_contrast: float, data: bytes) -> bytes:
    """Return `duplicates.fingerprint`'s hashes of a picture, b"" if it is of one colour; for a sandbox worker.

    Raises:
        Rejected: it is no usable picture.
        MemoryError: it needs more than this process may use.

    """
    made = fingerprint(decode_small(data, limits).image)
    return made.hashes if made.contrast >= blank_contrast else b""


def hashing(params: Params) -> partial[bytes]:
    """Return `perceptual_hashes` with the project's limits, of a picture's bytes."""
    return partial(perceptual_hashes, Limits(**params.catalog.limits), params.dedupe.blank_contrast)


def pixels_alone(params: Params, data: bytes) -> bytes:
    """Return a picture as a PNG of its decoded pixels, its longer side at most reports.side px.

    Raises:
        UserError: it is no usable picture.

    """
    own = params.serve
    # As many workers as the service has for pictures that come in: so they are the same ones.
    cost = sandbox.WorkerLimits(own.advanced.seconds, own.advanced.memory_mb, own.workers + 1)
    encode = partial(_encode, Limits(**params.catalog.limits), params.reports.side)
    (outcome,) = sandbox.run(encode, [data], cost)
    if isinstance(outcome, sandbox.Failure):
        raise UserError(f"the picture cannot be stored: {outcome}")
    return outcome


def thumbnail(params: Params, data: bytes, side: int) -> bytes | None:
    """Return a picture as a JPEG of `side` px at most; None if it does not decode."""
    cost = sandbox.WorkerLimits(params.catalog.seconds, params.catalog.memory_mb, params.serve.workers + 1)
    (outcome,) = sandbox.run(partial(_small, Limits(**params.catalog.limits), side), [data], cost)
    return None if isinstance(outcome, sandbox.Failure) else outcome


def _small(limits: Limits, side: int, data: bytes) -> bytes:
    image = decode(data, limits, side).image
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def _encode(limits: Limits, side: int, data: bytes) -> bytes:
    image = decode(data, limits).image
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "PNG")  # a new image, which has the pixels and nothing else
    return buffer.getvalue()
