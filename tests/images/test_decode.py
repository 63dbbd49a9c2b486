import json
import struct
import zlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.images import loading, sandbox
from pipeline.images.decode import decode, decode_small
from pipeline.images.grey import small_grey
from pipeline.images.limits import DEFAULT_FORMATS, FORMATS, Limits, Rejected
from pipeline.params import catalog, root
from pipeline.validation import suites
from tests.support.pictures import draw, encode, jpeg, png

LIMITS = Limits(min_side=8)
ROOT = Path(__file__).parents[2]
EVERY = Limits(min_side=8, formats=FORMATS)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, EVERY).image).astype(int)


def code(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(Rejected) as caught:
        decode(data, limits)
    assert str(caught.value) == f"{caught.value.code}: {caught.value.detail}"
    assert "\n" not in caught.value.detail
    return caught.value.code


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("JPEG", "RGB", 24), ("JPEG", "L", 24), ("PNG", "RGB", 0), ("PNG", "L", 0), ("PNG", "1", 0), ("PNG", "P", 0),
        ("WEBP", "RGB", 48), ("GIF", "P", 0), ("GIF", "L", 0), ("BMP", "RGB", 0), ("BMP", "L", 0), ("BMP", "P", 0),
        ("BMP", "1", 0), ("MPO", "RGB", 24), ("AVIF", "RGB", 48), ("AVIF", "L", 24), ("HEIF", "RGB", 48),
        ("HEIF", "L", 24), ("TIFF", "RGB", 0), ("TIFF", "L", 0), ("TIFF", "P", 0), ("TIFF", "1", 0),
    ],
)  # fmt: skip
def test_every_format_and_mode_gives_its_own_pixels(rng, kind, mode, tolerance):
    drawn = draw(rng, mode=mode)
    options = {"save_all": True, "append_images": [draw(rng)]} if kind == "MPO" else {}
    picture = decode(encode(drawn, kind, **options), EVERY)
    assert (picture.format, picture.width, picture.height, picture.orientation) == (kind, 48, 40, 1)
    assert picture.frames == (2 if kind == "MPO" else 1)
    assert (picture.image.mode, picture.image.size) == ("RGB", (48, 40))
    apart = np.abs(np.asarray(picture.image).astype(int) - np.asarray(drawn.convert("RGB")).astype(int))
    assert apart.max() <= tolerance


def test_every_format_is_covered_above_and_known_to_params_and_to_the_catalogs_checks():
    assert set(FORMATS) == {"JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF"}
    assert get_args(catalog.PictureFormat) == FORMATS
    assert set(suites.FORMATS) == {*FORMATS, "MPO"}
    assert root.load_params(ROOT / "params.yaml").catalog.formats == DEFAULT_FORMATS


def test_cmyk_as_pillow_and_browsers_show_it(rng):
    """Adobe's CMYK JPEGs are stored inverted: a wrong reading is a negative."""
    drawn = draw(rng)
    assert np.abs(pixels(encode(drawn.convert("CMYK"), "JPEG", quality=95)) - np.asarray(drawn)).mean() < 5


@pytest.mark.parametrize("greatest", [65535, 3000, 200])
def test_sixteen_bit_grey_keeps_its_upper_bits_however_dark_it_is(greatest):
    wide = np.linspace(0, greatest, 32 * 32).astype(np.uint16).reshape(32, 32)
    data = encode(Image.fromarray(wide), "PNG")
    assert decode(data).mode.startswith("I")
    assert (pixels(data) == (wide >> 8)[..., None]).all()


def test_transparency_lies_over_white(rng):
    drawn = np.asarray(draw(rng, (32, 32)))
    alpha = np.zeros((32, 32), np.uint8)
    alpha[:16] = 255
    alpha[8:16] = 128
    laid_over = pixels(encode(Image.fromarray(np.dstack([drawn, alpha])), "PNG"))
    assert (laid_over[:8] == drawn[:8]).all()
    assert (laid_over[16:] == 255).all()
    assert np.abs(laid_over[8:16] - (drawn[8:16].astype(float) * 128 + 255 * 127) / 255).max() <= 1

    grey = Image.merge("LA", [Image.fromarray(drawn[..., 0]), Image.fromarray(alpha)])
    assert (pixels(encode(grey, "PNG"))[:8] == drawn[:8, :, :1]).all()
    assert (pixels(encode(grey, "PNG"))[16:] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palettes_transparent_colour_lies_over_white(kind):
    image = Image.new("P", (32, 32), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 32, 16))
    laid_over = pixels(encode(image, kind, transparency=0))
    assert (laid_over[:16] == [200, 100, 50]).all()
    assert (laid_over[16:] == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = decode(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert picture.frames == 3
    assert (np.asarray(picture.image) == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_exif_orientation_turns_the_picture_upright_exactly_once(rng, orientation, kind):
    stored = draw(rng, (48, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, tagged = encode(stored, kind), encode(stored, kind, exif=exif.tobytes())
    # What EXIF 2.3 says of row 0 and column 0 of the stored pixels, in numpy: flips and turns of the array.
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a[::-1].swapaxes(0, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a[:, ::-1].swapaxes(0, 1),
    }[orientation](pixels(plain))
    picture, small = decode(tagged, EVERY), decode_small(tagged, EVERY)
    assert (
        picture.orientation == small.orientation == (1 if kind in {"HEIF", "TIFF"} else orientation)
    )  # turned by Pillow
    assert (picture.height, picture.width) == (small.height, small.width) == turned.shape[:2]
    assert (np.asarray(picture.image) == turned).all()
    assert np.abs(np.asarray(small.image).astype(int) - np.asarray(picture.image.convert("L")).astype(int)).max() < 24


def short(value: int) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + struct.pack("<I", value) + bytes(4)


TEXT = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0" + b"6\0\0\0" + bytes(4)


def test_the_exif_below_is_read_at_all(rng):
    assert decode(jpeg(rng, exif=short(6))).orientation == 6


@pytest.mark.parametrize(
    "exif", [short(0), short(9), short(65535), TEXT, short(6)[:20], b"Exif\0\0II*\0" + b"\xff" * 40]
)
def test_an_impossible_orientation_is_upright(rng, exif):
    picture = decode(jpeg(rng, exif=exif))
    assert (picture.orientation, picture.width, picture.height) == (1, 48, 40)


def bomb(side: int) -> bytes:
    """A tiny PNG that says it is `side` x `side` pixels of one bit, and is."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + (side + 7) // 8)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_its_pixels_are_made():
    data = bomb(30_000)
    assert len(data) < 200_000
    assert code(data) == "too_many_pixels"
    assert code(bomb(8_000)) == "too_many_pixels"  # 64 MP: above our cap, below Pillow's own


def test_no_picture():
    assert code(b"") == "empty"
    assert code(b"<!doctype html><html><body>404</body></html>") == "not_a_picture"
    assert code(b"\x00" * 1000) == "not_a_picture"
    assert code(b"caption of a picture\n") == "not_a_picture"


def reason(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(Rejected) as caught:
        decode(data, limits)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"/>', "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "PostScript"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "video (MPEG-4 or QuickTime)"),
        (b"PK\3\4\x14\0\0\0", "ZIP archive: unpack it, or pack it as .tar, which `nsfw score` takes"),
        (b"\x1f\x8b\x08\0", "gzip archive: `nsfw score` takes .tar, .tar.gz and .tar.xz, under these names"),
    ],
)
def test_what_is_no_picture_that_is_taken_is_named_with_the_way_out(data, words):
    assert reason(data) == f"unsupported_format: {words}"
    with pytest.raises(Rejected, match="unsupported_format"):
        decode_small(data, LIMITS)


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "JPEG2000"])
def test_a_format_that_is_not_taken_is_named_and_never_opened(rng, kind, monkeypatch):
    data = encode(draw(rng), kind)
    monkeypatch.setattr(Image, "open", None)
    assert reason(data).startswith("unsupported_format: " + {"PPM": "PNM"}.get(kind, kind))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF"])
def test_each_format_can_be_switched_off_and_only_then_is_refused(rng, kind):
    data = encode(draw(rng), kind)
    assert decode(data, Limits(formats=(kind,))).format == kind
    others = Limits(formats=tuple(name for name in FORMATS if name != kind))
    assert reason(data, others) == f"unsupported_format: {kind}: it is none of catalog.formats"


def test_heif_without_its_package_says_which_extra_brings_it(rng, monkeypatch):
    data = encode(draw(rng), "HEIF")
    monkeypatch.setattr(loading, "_heif_opens", lambda: False)
    assert "pip install 'nsfw-pipeline[heif]'" in reason(data)


def test_limits_travel_as_json_and_older_ones_take_what_was_taken_then():
    assert Limits.from_document(json.loads(json.dumps(asdict(EVERY)))) == EVERY
    older = {"max_pixels": 9, "min_side": 2, "max_aspect": 3.0}
    assert Limits.from_document(older) == Limits(9, 2, 3.0, ("JPEG", "PNG", "WEBP", "GIF", "BMP"))
    assert Limits.from_document(None).formats == ("JPEG", "PNG", "WEBP", "GIF", "BMP")
    for odd in ([], ["ICO"], "PNG", 3, None, [["PNG"]]):
        with pytest.raises((TypeError, ValueError)):
            Limits.from_document(older | {"formats": odd})


def test_the_limits_are_where_they_are_said_to_be(rng):
    limits = Limits(max_pixels=40 * 400, min_side=32, max_aspect=10.0)
    assert decode(png(rng, (40, 400)), limits).height == 400
    assert code(png(rng, (41, 400)), limits) == "too_many_pixels"
    assert code(png(rng, (31, 40)), limits) == "too_small"
    assert decode(png(rng, (32, 320)), limits).height == 320
    assert code(png(rng, (32, 321)), limits) == "too_elongated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_truncated_picture_is_broken(rng, kind, share):
    data = encode(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    assert code(data[: max(20, int(len(data) * share))], EVERY) == "broken"


SEEDS = {
    "jpeg": jpeg(np.random.default_rng(2), (16, 12)),
    "png": png(np.random.default_rng(2), (16, 12)),
    "gif": encode(draw(np.random.default_rng(2), (16, 12)), "GIF"),
    "webp": encode(draw(np.random.default_rng(2), (16, 12)), "WEBP"),
    "16 bit png": encode(Image.fromarray(np.arange(192, dtype=np.uint16).reshape(12, 16) * 300), "PNG"),
}


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255), st.booleans()), max_size=12),
    st.integers(1, 4000),
)
def test_hostile_bytes_are_rejected_and_nothing_else(name, changes, length):
    data = bytearray(SEEDS[name])
    for position, byte, insert in changes:
        at = position % len(data)
        data[at : at if insert else at + 1] = bytes([byte])
    with suppress(Rejected):
        picture = decode(bytes(data[:length]), LIMITS)
        assert picture.image.mode == "RGB"
        assert picture.image.size == (picture.width, picture.height)


@pytest.mark.parametrize("size", [(40, 48), (255, 90), (511, 300), (512, 511), (1300, 700), (90, 2060)])
@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P"), ("MPO", "RGB")]
)
def test_a_small_picture_is_the_whole_one_in_grey_averaged(rng, size, kind, mode):
    options = {"save_all": True, "append_images": [draw(rng)]} if kind == "MPO" else {}
    data = encode(draw(rng, size, mode), kind, **options)
    loose = Limits(max_aspect=30)
    whole, small = decode(data, loose), decode_small(data, loose)
    about = [(p.format, p.mode, p.width, p.height, p.orientation, p.frames) for p in (whole, small)]
    assert about[0] == about[1]
    assert small.image.mode == "L"
    assert min(256, max(size)) <= max(small.image.size) <= 511
    wanted = small_grey(whole.image)
    if kind == "PNG":
        assert small.image.tobytes() == wanted.tobytes()
    enlarged = small.image.resize(wanted.size)
    assert np.abs(np.asarray(enlarged).astype(int) - np.asarray(wanted).astype(int)).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_small_picture_is_upright(rng, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(draw(rng, (1200, 640)), "JPEG", exif=exif.tobytes())
    whole, small = decode(data), decode_small(data)
    assert (small.width, small.height) == (whole.width, whole.height)
    wanted = np.asarray(small_grey(whole.image).resize(small.image.size)).astype(int)
    assert np.abs(np.asarray(small.image).astype(int) - wanted).mean() < 2


def test_transparency_lies_over_white_in_small_too(rng):
    layer = draw(rng, (600, 600)).convert("RGBA")
    layer.putalpha(0)
    assert (np.asarray(decode_small(encode(layer, "PNG")).image) == 255).all()
    flat = Image.new("L", (40, 40), 9)
    assert (np.asarray(decode_small(encode(flat, "PNG", transparency=9)).image) == 255).all()


WHOLE_JPEGS = [
    encode(draw(np.random.default_rng(5), (600, 540), mode), "JPEG", progressive=progressive, quality=60)
    for mode, progressive in (("RGB", False), ("RGB", True), ("L", False))
]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(WHOLE_JPEGS), st.data())
def test_a_damaged_jpeg_has_the_same_verdict_at_reduced_scale(data, drawn):
    damaged = bytearray(data)
    for _ in range(drawn.draw(st.integers(0, 3))):
        damaged[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    del damaged[drawn.draw(st.integers(0, len(data))) :]

    def verdict(way):
        try:
            way(bytes(damaged))
        except Rejected as rejected:
            return rejected.code
        return "fine"

    assert verdict(decode_small) == verdict(decode)


def test_what_cannot_be_held_whole_fails_at_reduced_scale_already():
    data = encode(Image.new("RGB", (6000, 6000)), "JPEG")
    outcomes = [next(sandbox.run(decode_small, [data], sandbox.WorkerLimits(20.0, memory))) for memory in (150, 1024)]
    assert outcomes[0].code == "memory"
    assert (outcomes[1].width, outcomes[1].image.size) == (6000, (375, 375))


def test_a_webp_that_does_not_fit_is_not_called_broken():
    data = encode(Image.new("RGBA", (5000, 5000), (10, 20, 30, 40)), "WEBP", method=0)
    outcomes = [next(sandbox.run(decode, [data], sandbox.WorkerLimits(20.0, memory))) for memory in (235, 1024)]
    assert [getattr(one, "code", "fine") for one in outcomes] == ["memory", "fine"]


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_what_a_video_codec_has_no_memory_for_is_not_called_broken(kind, mode):
    data = encode(Image.new(mode, (2000, 2000), (10, 20, 30, 40)[: len(mode)]), kind)
    outcomes = [next(sandbox.run(decode, [data], sandbox.WorkerLimits(60.0, memory))) for memory in (25, 512)]
    assert [getattr(one, "code", "fine") for one in outcomes] == ["memory", "fine"]


def test_a_progressive_jpeg_that_does_not_fit_is_not_called_broken():
    data = encode(Image.new("CMYK", (3000, 2500)), "JPEG", progressive=True)
    outcomes = [next(sandbox.run(way, [data], sandbox.WorkerLimits(60.0, 70))) for way in (decode, decode_small)]
    assert [getattr(one, "code", "fine") for one in outcomes] == ["memory", "memory"]
