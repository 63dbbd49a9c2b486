import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipeline.images import frames
from pipeline.images.decode import decode, decode_frames, decode_small
from pipeline.images.frames import Scan, choose, representative
from pipeline.images.limits import Limits, Rejected
from pipeline.images.preprocessing import Preprocessor
from tests.support.pictures import draw, encode

KINDS = ["GIF", "WEBP", "PNG", "AVIF"]
LIMITS = Limits(formats=("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "MPO"))
WHITE = Image.new("RGB", (48, 40), "white")


def scenes(count, seed=0):
    """Pictures that differ."""
    rng = np.random.default_rng(seed)
    return [draw(rng) for _ in range(count)]


def animation(images, kind, durations=100, **options):
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 95, "speed": 10}}.get(kind, {})
    pages = {} if kind == "TIFF" else {"duration": durations}
    return encode(images[0], kind, save_all=True, append_images=images[1:], **pages, **lossless, **options)


def numbers(data, most=12):
    limits = Limits(formats=LIMITS.formats, max_frames=most)
    looked = decode_frames(data, lambda image: image, limits)
    return looked.numbers, looked.total


def close(image, other):
    """Whether two pictures are the same but for a lossy format."""
    pixels = [np.asarray(of.convert("RGB"), np.float64) for of in (image, other)]
    return np.abs(pixels[0] - pixels[1]).mean() < 12


@pytest.mark.parametrize("kind", KINDS)
def test_behind_a_white_first_frame_of_10_ms_the_picture_is_looked_at_and_stands_for_the_whole(kind):
    (picture,) = scenes(1)
    data = animation([WHITE, picture], kind, [10, 1000])
    looked = decode_frames(data, lambda image: image, LIMITS)
    assert (looked.numbers, looked.total) == ([0, 1], 2)
    assert close(looked.results[0], WHITE)
    assert close(looked.results[1], picture)
    assert close(decode(data, LIMITS).image, picture)
    assert close(decode_small(data, LIMITS).image, picture.convert("L"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shown_for_a_fifth_of_the_time_is_looked_at_wherever_it_is(kind):
    many = scenes(30)
    for at in (0, 7, 18, 29):
        durations = [40] * 30
        durations[at] = 300  # 300 of 1,460 ms
        assert at in numbers(animation(many, kind, durations))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_one_frame_that_differs_is_looked_at_however_short_it_is(kind):
    usual, other = scenes(2)
    shown = [usual] * 40
    shown[23] = other
    # Formats that join equal frames have fewer.
    chosen, total = numbers(animation(shown, kind, 100))
    if total == 40:
        assert 23 in chosen
    assert 2 <= len(chosen) <= 3 + (kind == "AVIF") * 9  # what looks the same is looked at once; AVIF is lossy


def test_a_change_in_a_small_part_of_the_frame_is_looked_at():
    (usual,) = scenes(1)
    other = usual.copy()
    other.paste(Image.new("RGB", (12, 10), "magenta"), (30, 5))
    assert numbers(animation([usual] * 5 + [other] + [usual] * 6, "PNG")) == ([0, 1], 3)  # Pillow joins equal frames


@pytest.mark.parametrize("kind", [*KINDS, "TIFF"])
@pytest.mark.parametrize("most", [1, 2, 5, 12])
def test_never_more_frames_than_the_limit_are_looked_at(kind, most):
    chosen, total = numbers(animation(scenes(20), kind), most)
    assert (len(chosen), total) == (most, 20)


def test_an_apngs_default_image_that_no_browser_shows_is_not_looked_at():
    red, blue = (Image.new("RGB", (48, 40), colour) for colour in ("red", "blue"))
    data = animation([WHITE, red, blue], "PNG", default_image=True)
    looked = decode_frames(data, lambda image: image.getpixel((0, 0)), LIMITS)
    assert (looked.results, looked.numbers, looked.total) == ([(255, 0, 0), (0, 0, 255)], [0, 1], 2)
    picture = decode(data, LIMITS)
    assert picture.frames == 2
    assert picture.image.getpixel((0, 0)) in {(255, 0, 0), (0, 0, 255)}


def test_of_an_mpo_the_first_picture_alone_is_looked_at():
    first, second = scenes(2)
    data = encode(first, "MPO", save_all=True, append_images=[second])
    assert numbers(data) == ([0], 1)


def test_each_page_of_a_tiff_is_looked_at_and_one_that_is_too_small_is_passed_over():
    first, second = scenes(2)
    data = animation([first, Image.new("RGB", (8, 8)), second], "TIFF")
    assert numbers(data) == ([0, 2], 2)


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_frames_before_a_damaged_one_are_looked_at(kind):
    shown = scenes(6)
    whole = animation(shown, kind)
    cut = whole[: len(whole) * 3 // 4]
    chosen, total = numbers(cut)
    assert chosen == list(range(total))
    assert 2 < total < 6
    assert decode(cut, LIMITS).frames == total


def test_a_still_costs_no_scan(monkeypatch):
    monkeypatch.setattr(frames, "scan", None)
    for kind in ("JPEG", "GIF", "WEBP", "PNG", "AVIF", "TIFF"):
        still = encode(scenes(1)[0], kind)
        assert numbers(still) == ([0], 1)
        assert decode(still, LIMITS).frames == 1


def test_a_still_gives_the_square_that_it_always_gave():
    data = encode(scenes(1)[0], "JPEG")
    preprocessor = Preprocessor(Limits(), 24)
    looked = preprocessor.frames_from_bytes(data)
    assert (looked.pixels.shape, looked.numbers, looked.total) == ((1, 24, 24, 3), (0,), 1)
    np.testing.assert_array_equal(looked.pixels[0], preprocessor.from_bytes(data))


def test_what_all_frames_may_cost_together_is_limited():
    data = animation(scenes(9), "GIF")
    room = Limits(max_pixels=50_000, min_side=8, max_frames=8)  # a small frame counts as 50,000 px
    with pytest.raises(Rejected, match="too_many_frames: over 400,000 pixels"):
        decode(data, room)
    with pytest.raises(Rejected, match="too_many_frames"):
        decode_frames(data, lambda image: image, room)
    assert decode(animation(scenes(8), "GIF"), room).frames == 8


def test_frames_that_did_not_fit_into_memory_are_decoded_again(monkeypatch):
    data = animation(scenes(9), "GIF")
    decoded = decode_frames(data, np.asarray, LIMITS)
    monkeypatch.setattr(frames, "_DECODED_BYTES", 2 * 48 * 40 * 3)
    monkeypatch.setattr(frames._Collector, "room", 2 * 48 * 40 * 3)
    again = decode_frames(data, np.asarray, LIMITS)
    assert again.numbers == decoded.numbers
    np.testing.assert_array_equal(np.stack(again.results), np.stack(decoded.results))


@pytest.mark.parametrize("orientation", [6, 8])
@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_every_frame_is_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = animation(scenes(3), kind, exif=exif)
    looked = decode_frames(data, lambda image: image.size, LIMITS)
    assert looked.results == [(40, 48)] * 3


def test_the_first_frame_must_be_sound():
    data = bytearray(animation(scenes(3), "PNG"))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    with pytest.raises(Rejected, match="broken"):
        decode_frames(bytes(data), lambda image: image, LIMITS)


def scan_of(thumbnails, durations):
    count = len(thumbnails)
    return Scan(list(range(count)), np.asarray(thumbnails, np.uint8), np.asarray(durations, float), {})


SCANS = st.integers(1, 24).flatmap(
    lambda count: st.builds(
        scan_of,
        hnp.arrays(np.uint8, (count, 1, 1, 3)).map(lambda plain: np.tile(plain, (1, 16, 16, 1))),
        hnp.arrays(np.float64, count, elements=st.floats(1, 1e4)),
    )
)


@given(SCANS, st.integers(1, 16))
def test_chosen_frames_are_few_distinct_and_in_order_with_the_first_among_them(scanned, most):
    chosen = choose(scanned, most)
    assert 1 <= len(chosen) <= min(most, scanned.total)
    assert chosen == sorted(set(chosen))
    assert all(0 <= position < scanned.total for position in chosen)
    assert most == 1 or chosen[0] == 0


@given(SCANS)
def test_with_room_for_all_each_frame_looks_like_one_that_is_chosen(scanned):
    plain = scanned.thumbnails[:, 0, 0].astype(float)
    chosen = choose(scanned, 2 * scanned.total + 2)
    for frame in plain:
        assert np.abs(plain[chosen] - frame).mean(axis=1).min() <= 2.0


@given(SCANS)
def test_the_representative_is_blank_only_where_all_are(scanned):
    thumbnails = scanned.thumbnails.copy()
    thumbnails[0, :8] ^= 0x80  # not plain any more
    assert representative(scan_of(thumbnails, scanned.durations)) == 0
    assert 0 <= representative(scanned) < scanned.total


def test_the_representative_is_what_is_shown_longest():
    one, other = (np.asarray(image.resize((16, 16))) for image in scenes(2))
    assert representative(scan_of([one, other, one], [10, 100, 20])) == 1
    assert representative(scan_of([one, other, one], [100, 100, 20])) == 0
