"""What a picture may do to the worker that decodes it; cheap to import there."""

import io
import os
import signal
import time

import numpy as np
from PIL import Image

from pipeline.images.decode import Rejected


def square(data: bytes) -> np.ndarray:
    """The picture at 8 px; words instead of a picture are acted upon."""
    if data == b"hang":
        time.sleep(60)
    if data == b"slow":
        time.sleep(0.5)
        return np.zeros((8, 8, 3), np.uint8)
    if data == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if data == b"hog":
        bytearray(2**31)
    if data == b"defect":
        raise ZeroDivisionError("a defect of ours")
    if not data.startswith(b"\x89PNG"):
        raise Rejected("not_a_picture", "none of ours")
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((8, 8)))
