"""Pictures that misbehave in the worker that decodes them; cheap to import there."""

import io
import os
import signal
import time

import numpy as np
from PIL import Image, ImageSequence

from pipeline.images.limits import Rejected
from pipeline.images.preprocessing import FramePixels


def square(data: bytes) -> FramePixels:
    """The picture's frames at 8 px; the name of an action instead of a picture, up to a comma, runs that action."""
    if (action := _ACTIONS.get(data.partition(b",")[0])) is not None:
        action()
        return FramePixels(np.zeros((1, 8, 8, 3), np.uint8), (0,), 1)
    if not data.startswith(b"\x89PNG"):
        raise Rejected("not_a_picture", "none of ours")
    image = Image.open(io.BytesIO(data))
    frames = [np.asarray(frame.convert("RGB").resize((8, 8))) for frame in ImageSequence.Iterator(image)]
    return FramePixels(np.stack(frames), tuple(range(len(frames))), len(frames))


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def _defect() -> None:
    raise ZeroDivisionError("a defect of ours")


_ACTIONS = {
    b"hang": lambda: sum(range(10**12)),  # in C, the interpreter's lock held
    b"heavy": lambda: burn(0.35),
    b"slow": lambda: time.sleep(0.5),
    b"crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    b"killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"hog": lambda: bytearray(2**31),
    b"defect": _defect,
}
