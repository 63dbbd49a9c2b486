"""The verdicts of plain Pillow and of our two decoders on a file; run in sandbox workers, so importable by name."""

import io
import random
import warnings
from collections.abc import Callable

from PIL import Image

from pipeline.images.decode import Picture, decode, decode_small
from pipeline.images.limits import FORMATS, Limits, Rejected

LIMITS = Limits(max_pixels=2_000_000, min_side=8, max_aspect=10.0, formats=FORMATS)
OWN_LIMITS = {"too_many_pixels", "too_small", "too_elongated"}


def pillow_verdict(data: bytes) -> str:
    """Return `fine` where Pillow decodes the first frame, else `broken`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > LIMITS.max_pixels:
                    return "too_many_pixels"
                image.load()
    except Exception:  # noqa: BLE001 -- as hostile files make it
        return "broken"
    return "fine"


def decode_verdict(data: bytes) -> str:
    """Return `fine`, or the code of `decode`."""
    return _code(lambda: decode(data, LIMITS))


def decode_small_verdict(data: bytes) -> str:
    """Return `fine`, or the code of `decode_small`."""
    return _code(lambda: decode_small(data, LIMITS))


def all_verdicts(data: bytes) -> tuple[str, str, str]:
    """Return the verdicts of plain Pillow, `decode` and `decode_small`."""
    return pillow_verdict(data), decode_verdict(data), decode_small_verdict(data)


def contradicts(plain: str, whole: str, small: str) -> bool:
    """Whether our decoders differ, accept a file that Pillow rejects, or reject one it accepts without a limit."""
    if whole != small:
        return True
    return whole != "fine" and whole not in OWN_LIMITS if plain == "fine" else whole == "fine"


def mutate(chance: random.Random, data: bytes) -> bytes:
    """Return a file with one to eight damages: bytes changed, lost, added, repeated, or the end cut off."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        near_start = chance.random() < 0.5
        at = chance.randrange(min(len(damaged), 400) if near_start else len(damaged))
        _damage(chance, damaged, at)
        if not damaged:
            break
    return bytes(damaged)


def _damage(chance: random.Random, data: bytearray, at: int) -> None:
    length = chance.choice((1, 2, 7, 40))
    start = chance.randrange(len(data))
    way = chance.choice(("flip", "set", "number", "lose", "add", "repeat", "cut"))
    if way == "flip":
        data[at] ^= 1 << chance.randrange(8)
    elif way == "cut":
        del data[max(at, len(data) // 2) :]
    else:
        until = at + (0 if way == "add" else length)
        data[at:until] = {
            "set": bytes([chance.choice((0, 0x7F, 0xC3, 0xFF))]) * length,
            "number": chance.randbytes(length),
            "lose": b"",
            "add": chance.randbytes(length),
            "repeat": data[start : start + length],
        }[way]


def _code(way: Callable[[], Picture]) -> str:
    try:
        way()
    except Rejected as rejected:
        return rejected.code
    return "fine"
