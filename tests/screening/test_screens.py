"""What the screens say of a content: exact, PDQ, hooks; and that what they cannot answer never passes."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.images.sandbox import Failure
from pipeline.params.root import load_params
from pipeline.screening.hashing import of_frame
from pipeline.screening.stream import Stream
from tests.support import screens as support
from tests.support.pictures import encode
from tests.support.screens import CONTACT, configure, detailed, jpeg_of, meta_hash, opened, python_hook

pytestmark = pytest.mark.untraced

EVIL = jpeg_of(detailed(1))
GOOD = jpeg_of(detailed(2))


def lists(verdict) -> list[str]:
    return [match.list for match in verdict.matches]


def test_without_lists_there_is_nothing_to_open(project):
    params = load_params()
    assert not params.ingest.screens.active
    from pipeline.screening.screens import open_screens

    assert open_screens(params, cost=support.COST) is None


def test_exact_lists_of_every_kind_match_the_bytes_alone(project):
    kinds = ("md5", "sha1", "sha256")
    configure({kind: (kind, hashlib.new(kind, EVIL).hexdigest()) for kind in kinds})
    screens = opened()
    verdict = screens.examine(EVIL)
    assert lists(verdict) == list(kinds)
    assert verdict.reason == "escalated: matches md5, sha1, sha256"
    assert (verdict.md5, verdict.sha1) == (hashlib.md5(EVIL).hexdigest(), hashlib.sha1(EVIL).hexdigest())  # noqa: S324
    assert screens.examine(EVIL + b"\0").reason == screens.examine(GOOD).reason == ""


@pytest.mark.parametrize("kind", ["again", "cropped", "resized"])
def test_pdq_lists_match_copies(project, kind):
    configure({"partner": ("pdq", meta_hash(detailed(1)))})
    verdict = opened().examine(support.copies(detailed(1))[kind])
    (match,) = verdict.matches
    assert (match.list, match.kind, match.entry) == ("partner", "pdq", meta_hash(detailed(1)))
    assert match.distance <= 31
    assert len(verdict.pdq) == 64
    assert len(verdict.md5) == 32


def test_the_distance_of_params_is_heeded(project):
    copy = support.copies(detailed(1))["cropped"]
    configure({"partner": ("pdq", meta_hash(detailed(1)))}, pdq_distance=0)
    assert opened().examine(copy).reason == ""


def test_plain_pictures_match_nothing_even_if_their_hash_is_listed(project):
    plain = Image.blend(Image.new("RGB", (320, 256), "grey"), detailed(1), 0.05)
    assert of_frame(plain).quality < 50
    configure({"partner": ("pdq", meta_hash(plain))})
    assert opened().examine(jpeg_of(plain)).reason == ""
    configure({"partner": ("pdq", meta_hash(plain))}, pdq_quality=0)
    assert lists(opened().examine(jpeg_of(plain))) == ["partner"]


def test_a_frame_in_the_midst_of_an_animation_is_found(project):
    frames = [detailed(number, (160, 128)) for number in (5, 6, 7)]
    configure({"partner": ("pdq", meta_hash(frames[1]))})
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=300, quality=90)
    assert lists(opened().examine(data)) == ["partner"]


@pytest.mark.parametrize("orientation", [3, 6])
def test_what_exif_turns_is_found_as_it_is_stored_and_as_it_is_seen(project, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg_of(detailed(1), exif=exif)
    seen = detailed(1).transpose({3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}[orientation])
    for listed in (detailed(1), seen):
        configure({"partner": ("pdq", meta_hash(listed))})
        assert lists(opened().examine(data)) == ["partner"]


def test_pictures_that_the_catalog_refuses_are_screened_all_the_same(project):
    configure({"partner": ("pdq", meta_hash(detailed(1, (30, 400))))})  # too elongated, and too small
    assert lists(opened().examine(encode(detailed(1, (30, 400)), "TIFF"))) == ["partner"]


def test_what_no_decoder_opens_is_screened_by_exact_lists(project):
    rubbish = b"rubbish"
    configure({"partner": ("pdq", meta_hash(detailed(1))), "own": ("sha256", hashlib.sha256(rubbish).hexdigest())})
    assert lists(opened().examine(rubbish)) == ["own"]
    assert opened().examine(b"other rubbish").reason == ""


def test_a_picture_whose_worker_died_is_not_said_to_be_clean(project):
    configure({"partner": ("pdq", meta_hash(detailed(1)))})
    screens = opened()
    verdict = screens.judge(GOOD, screens.exact(GOOD), Failure("crashed", "its worker died"))
    assert verdict.reason == "unscreened: its PDQ hash could not be computed (crashed: its worker died)"


def test_hooks_are_asked_about_what_no_list_matches(project, tmp_path):
    calls = tmp_path / "calls"
    code = f"open({str(calls)!r}, 'a').write('x')\n{support.ANSWERS_BY_SIZE.replace('; ', chr(10))}"
    listed = hashlib.sha256(EVIL).hexdigest()
    configure({"own": ("sha256", listed)}, hooks=[python_hook(code)])
    screens = opened()
    assert screens.examine(EVIL).reason == "escalated: matches own"
    assert not calls.exists()
    (match,) = screens.examine(b"EVIL").matches
    assert (match.list, match.kind, match.entry) == ("photo", "hook", "case 7")
    assert screens.examine(GOOD).reason == ""


def test_a_hook_that_fails_is_tried_twice_and_then_the_picture_is_unscreened(project, tmp_path):
    tries = tmp_path / "tries"
    once = f"""
import os
if not os.path.exists({str(tries)!r}):
    open({str(tries)!r}, "w")
    raise SystemExit(1)
print('{{"match": false}}')
"""
    configure(hooks=[python_hook(once)])
    assert opened().examine(GOOD).reason == ""
    configure(hooks=[python_hook("raise SystemExit(2)")])
    assert opened().examine(GOOD).reason.startswith("unscreened: hook photo: ")


def test_a_hook_that_is_out_of_service_stops_the_run_unless_others_wait_for_answers(project):
    configure(hooks=[python_hook("raise SystemExit(2)")])
    screens = opened()
    with pytest.raises(UserError, match=r"the hook 'photo' of ingest\.screens failed for \d pictures in a row"):
        list(Stream(screens).screen(range(20), lambda number: b"%d" % number))
    patient = opened(patient=True)
    assert {verdict.problem != "" for _, verdict in Stream(patient).screen(range(7), lambda n: b"%d" % n)} == {True}


@pytest.mark.parametrize("hooks", [[], [python_hook(support.ANSWERS_BY_SIZE)]])
def test_a_stream_gives_every_item_back_in_order(project, hooks):
    configure(
        {"partner": ("pdq", meta_hash(detailed(1))), "own": ("sha256", hashlib.sha256(b"y").hexdigest())}, hooks=hooks
    )
    contents = [GOOD, None, EVIL, b"rubbish", None, b"y", GOOD, None]
    items = list(Stream(opened()).screen(list(enumerate(contents)), lambda item: item[1]))
    assert [item for item, _ in items] == list(enumerate(contents))
    reasons = [None if verdict is None else verdict.reason for _, verdict in items]
    escalated = "escalated: matches"
    assert reasons == ["", None, f"{escalated} partner", "", None, f"{escalated} own", "", None]


def test_the_digest_changes_with_every_list_and_not_with_the_contact(project):
    digests = set()
    for text in ("a", "b"):
        configure({"own": ("sha256", hashlib.sha256(text.encode()).hexdigest())})
        digests.add(opened().digest)
    configure({"own": ("sha256", hashlib.sha256(b"b").hexdigest())}, contact="someone else")
    digests.add(opened().digest)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contact": None}, "contact is null: say whom to call"),
        ({"hooks": [{"name": "own", "command": ["x"]}]}, "have one name"),
        ({"hooks": [{"name": "a"}]}, "needs either command or url"),
        ({"hooks": [{"name": "a", "command": []}]}, "command is empty"),
        ({"hooks": [{"name": "a", "url": "ftp://x"}]}, "must be an http"),
        ({"hooks": [{"name": "a", "command": ["x"], "token_file": "t"}]}, "token_file goes with url"),
        ({"hooks": [{"name": "a/b", "command": ["x"]}]}, "is no name of a list or hook"),
        ({"pdq_distance": 32}, "less than or equal to 31"),
    ],
)
def test_params_that_make_no_sense_are_named(project, changes, message):
    configure({"own": ("md5", "0" * 32)}, **changes)
    with pytest.raises(UserError, match=message):
        load_params()


def test_params_of_the_project_say_nothing_of_anyone(project):
    assert load_params().ingest.screens.contact is None
    assert CONTACT not in paths.PARAMS.read_text(encoding="utf-8")


def test_grey_and_transparent_pictures_are_hashed(project):
    configure({"partner": ("pdq", meta_hash(detailed(1).convert("L")))})
    rgba = detailed(1).convert("RGBA")
    for image in (detailed(1).convert("L"), rgba):
        assert lists(opened().examine(encode(image, "PNG"))) == ["partner"]
    assert np.asarray(Image.open(io.BytesIO(encode(rgba, "PNG")))).shape[2] == 4
