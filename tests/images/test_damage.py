"""Damaged files are never accepted, valid ones never rejected: our verdict against plain Pillow's, in a worker."""

import io
import random
import struct
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageFile

from pipeline.images import sandbox
from pipeline.images.decode import decode, decode_small
from pipeline.images.grey import small_grey
from tests.support.lossless import lossless_jpeg
from tests.support.pictures import draw, encode
from tests.support.verdicts import (
    LIMITS,
    OWN_LIMITS,
    all_verdicts,
    contradicts,
    decode_small_verdict,
    decode_verdict,
    mutate,
)

COST = sandbox.WorkerLimits(60.0, 512)
RNG = np.random.default_rng(11)


def turned(image: Image.Image, kind: str, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image, kind, exif=exif.tobytes(), **options)


def animated(kind: str) -> bytes:
    frames = [draw(RNG, (12, 10)) for _ in range(3)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


def late_exif(data: bytes) -> bytes:
    """A PNG whose EXIF stands after its pixels, as the specification allows."""
    start = data.index(b"eXIf") - 4
    end = start + 12 + struct.unpack(">I", data[start : start + 4])[0]
    return data[:start] + data[end:-12] + data[start:end] + data[-12:]


SMALL = draw(RNG, (12, 10))
SEEDS = {
    "jpeg": turned(SMALL, "JPEG"),
    "progressive jpeg": encode(SMALL, "JPEG", progressive=True),
    "lossless jpeg": lossless_jpeg(np.asarray(SMALL)),
    "mpo": encode(SMALL, "MPO", save_all=True, append_images=[SMALL]),
    "png": encode(SMALL, "PNG"),
    "png with exif": turned(SMALL, "PNG"),
    "png with late exif": late_exif(turned(SMALL, "PNG")),
    "png with palette": encode(SMALL.quantize(8), "PNG", transparency=1),
    "16 bit png": encode(Image.fromarray(np.arange(120, dtype=np.uint16).reshape(10, 12) * 500), "PNG"),
    "apng": animated("PNG"),
    "gif": encode(SMALL.quantize(8), "GIF"),
    "animated gif": animated("GIF"),
    "webp": turned(SMALL, "WEBP"),
    "lossless webp": encode(SMALL, "WEBP", lossless=True),
    "animated webp": animated("WEBP"),
    "bmp": encode(SMALL, "BMP"),
    "avif": turned(SMALL, "AVIF"),
    "heif": turned(SMALL, "HEIF"),
    "tiff": turned(SMALL, "TIFF"),
    "packed tiff": encode(SMALL, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", SEEDS)
def test_every_damaged_byte_has_plain_pillows_verdict_at_both_doors(name):
    sound = SEEDS[name]
    assert all_verdicts(sound) == ("fine", "fine", "fine")
    damaged = [
        sound[:at] + bytes([sound[at] ^ (0xFF if at % 3 else 1 << at % 8)]) + sound[at + 1 :]
        for at in range(0, len(sound), 1 + len(sound) // 500)
    ]
    verdicts = list(sandbox.run(all_verdicts, damaged, COST))
    assert not [verdict for verdict in verdicts if isinstance(verdict, sandbox.Failure)]
    assert not [(at, verdict) for at, verdict in enumerate(verdicts) if contradicts(*verdict)]
    assert any(verdict[0] == "broken" for verdict in verdicts) or name == "bmp"  # whose pixels may be anything


def test_a_contradiction_is_seen_by_the_comparison():
    assert contradicts("broken", "fine", "fine")
    assert contradicts("fine", "broken", "broken")
    assert contradicts("fine", "fine", "broken")
    assert not any(contradicts("fine", code, code) for code in OWN_LIMITS)


def test_a_png_without_pixels_is_broken():
    data = SEEDS["png"]
    assert decode_verdict(data[:33] + data[-12:]) == decode_small_verdict(data[:33] + data[-12:]) == "broken"


def test_late_exif_turns_the_picture_all_the_same():
    assert decode(SEEDS["png with late exif"], LIMITS).orientation == 6
    assert decode_small(SEEDS["png with late exif"], LIMITS).orientation == 6


def test_what_somebody_else_switched_on_does_not_let_cut_pictures_in(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    cut = encode(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")[:2000]
    assert decode_verdict(cut) == decode_small_verdict(cut) == "broken"


def test_a_lossless_jpeg_leaves_the_heap_of_its_worker_alone():
    drawn = RNG.integers(0, 256, (60, 520, 3), dtype=np.uint8)
    assert list(sandbox.run(all_verdicts, [lossless_jpeg(drawn)] * 20, COST)) == [("fine",) * 3] * 20


def test_a_lossless_jpeg_keeps_every_pixel():
    drawn = RNG.integers(0, 256, (60, 520, 3), dtype=np.uint8)
    for pixels in (drawn, drawn[..., 0]):
        data = lossless_jpeg(pixels)
        wanted = Image.fromarray(pixels).convert("RGB")
        decoded = next(sandbox.run(partial(decode, limits=LIMITS, least=16), [data], COST))
        assert decoded.image.tobytes() == wanted.tobytes()
        small = next(sandbox.run(partial(decode_small, limits=LIMITS), [data], COST))
        assert (small.width, small.height, small.image.tobytes()) == (520, 60, small_grey(wanted).tobytes())


def test_a_thumbnails_frame_in_exif_is_not_the_pictures():
    """Segments are skipped by their length: a baseline JPEG in APP1 is not mistaken for the lossless one around it."""
    thumbnail = b"Exif\0\0" + encode(SMALL, "JPEG")
    drawn = RNG.integers(0, 256, (60, 520), dtype=np.uint8)
    data = lossless_jpeg(drawn)
    wrapped = data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    decoded = next(sandbox.run(partial(decode, limits=LIMITS, least=16), [wrapped], COST))
    assert decoded.image.convert("L").tobytes() == drawn.tobytes()


@pytest.mark.parametrize("process", [0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_a_process_that_is_not_scaled_has_one_verdict_at_both_doors(process):
    data = lossless_jpeg(RNG.integers(0, 256, (60, 520), dtype=np.uint8), process)
    assert not contradicts(*next(sandbox.run(all_verdicts, [data], COST)))


def test_frame_headers_that_contradict_each_other_are_refused():
    """Pillow takes the size from the last header, libjpeg from the first: rows of one size in the other's buffer."""
    data = encode(draw(RNG, (300, 260)), "JPEG")
    at = data.index(b"\xff\xc0")
    frame = bytearray(data[at : at + 19])
    frame[5:9] = struct.pack(">HH", 32, 32)
    two = data[:at] + data[at : at + 19] + bytes(frame) + data[at + 19 :]
    with Image.open(io.BytesIO(two)) as image:
        assert image.size == (32, 32)
    assert decode_verdict(two) == decode_small_verdict(two) == "broken"


CORPUS = [
    *SEEDS.values(),
    lossless_jpeg(np.asarray(draw(RNG, (520, 60)))),
    lossless_jpeg(np.asarray(draw(RNG, (520, 60), "L"))),
    *(encode(draw(RNG, (600, 540), mode), "JPEG", progressive=way) for mode in ("RGB", "L") for way in (False, True)),
    encode(draw(RNG, (300, 260), "CMYK"), "JPEG"),
    encode(draw(RNG, (300, 260)), "JPEG", restart_marker_blocks=4),
    *(encode(draw(RNG, (300, 260)), kind) for kind in ("PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF")),
]


def judge(seed: int, number: int) -> None:
    """Compare the three verdicts on mutated files; if a worker dies, the test fails and shows the file."""
    chance = random.Random(seed)
    files = [mutate(chance, chance.choice(CORPUS)) for _ in range(number)]
    for data, verdict in zip(files, sandbox.run(all_verdicts, files, COST), strict=True):
        assert not isinstance(verdict, sandbox.Failure), (str(verdict), data.hex())
        assert not contradicts(*verdict), (verdict, data.hex())


def test_mutated_files_have_plain_pillows_verdict_and_no_worker_dies():
    judge(seed=1, number=400)


@pytest.mark.slow
def test_many_mutated_files_have_plain_pillows_verdict_and_no_worker_dies():
    judge(seed=2, number=6000)
