from pathlib import Path

import numpy as np

from pipeline.duplicates.full_resolution import Eyes, Looked
from pipeline.duplicates.verification import HOW, compare, confirm, verify
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from tests.support.copies import COPIES, scene, thumbnail
from tests.support.dedupe_params import PARAMS
from tests.support.pictures import encode

FAR = np.full(3, 256)
BLIND = Eyes(Path("nowhere"), Limits(), sandbox.Limits(1, 256))


def test_flat_thumbnails_correlate_with_nothing():
    flat = np.full((1, 64, 64), 90, dtype=np.uint8)
    assert compare(flat, flat).tolist() == [0.0]


def seeing(monkeypatch, *rows):
    """Let `rows` (pieces, edges, side, differing, keypoints) be what looking at the next pairs gives."""
    given = list(rows)

    def look(self, asked, enough, block):
        seen, given[:] = given[: len(asked)], given[len(asked) :]
        return Looked(*np.array(seen, dtype=np.float64).reshape(-1, 5).T)

    monkeypatch.setattr(Eyes, "look", look)


def test_questions_are_asked_in_turn_and_only_where_needed(monkeypatch):
    same, cut = thumbnail(encode(scene(1), "PNG")), thumbnail(COPIES["crop"](scene(1)))
    other = thumbnail(encode(scene(2), "PNG"))
    seeing(monkeypatch)
    pairs = [(None, None)] * 3
    found = verify(np.stack([same] * 3), np.stack([same, cut, other]), np.array([0, 40, 70]), FAR, pairs, PARAMS, BLIND)
    assert found.same.tolist() == [True, True, False]
    assert [HOW[how] for how in found.how] == ["hash", "thumbnail", "thumbnail"]
    # Between unlike and same, and too far for `likely`: looked at in full.
    strict = PARAMS.model_copy(update={"same": 1.0, "sure_distance": 0, "likely_distance": 0, "likely_far": 0})
    seeing(monkeypatch, (0.99, 0.99, 224, 0, 0), (0.5, 0.5, 224, 0, 30), (0.5, 0.5, 224, 0, 10))
    doubtful = verify(np.stack([same] * 3), np.stack([cut] * 3), np.array([40] * 3), FAR, pairs, strict, BLIND)
    assert doubtful.same.tolist() == [True, True, False]
    assert doubtful.score.tolist() == [0.99, 30.0, 0.5]
    assert [HOW[how] for how in doubtful.how] == ["pieces", "keypoints", "pieces"]


def test_who_joins_a_cluster_is_looked_at_in_full_unless_sure(monkeypatch):
    same, cut = thumbnail(encode(scene(1), "PNG")), thumbnail(COPIES["crop"](scene(1)))
    seeing(monkeypatch, (0.97, 0.95, 224, 0, 0), (0.4, 0.4, 224, 0, 3))
    right = np.stack([same, cut, cut])
    found = confirm(np.stack([same] * 3), right, np.array([0, 40, 40]), [(None, None)] * 3, PARAMS, BLIND)
    assert found.same.tolist() == [True, True, False]
    assert [HOW[how] for how in found.how] == ["hash", "pieces", "pieces"]


def test_the_next_shot_of_a_burst_is_another_picture_unless_it_is_too_small_to_tell(monkeypatch):
    one, other = (
        thumbnail(encode(scene(1), "PNG")),
        thumbnail(encode(scene(2), "PNG")),
    )  # reframed: unlike as they stand
    seeing(
        monkeypatch, (0.97, 0.85, 224, 0, 0), (0.97, 0.95, 224, 0, 0), (0.97, 0.85, 100, 0, 0), (0.9, 0.95, 224, 0, 0)
    )
    found = confirm(np.stack([one] * 4), np.stack([other] * 4), np.array([60] * 4), [(None, None)] * 4, PARAMS, BLIND)
    assert found.same.tolist() == [False, True, True, False]
    # In place, a copy may have lost more.
    seeing(monkeypatch, (0.9, 0.5, 224, 0, 0))
    assert confirm(one[None], one[None], np.array([30]), [(None, None)], PARAMS, BLIND).same.tolist() == [True]


def test_pieces_that_agree_are_outvoted_by_a_block_that_differs(monkeypatch):
    same, cut = thumbnail(encode(scene(1), "PNG")), thumbnail(COPIES["crop"](scene(1)))
    seeing(monkeypatch, (0.99, 0.99, 224, 0.02, 0), (0.99, 0.99, 224, 0.005, 0))
    right = np.stack([cut, cut])
    found = confirm(np.stack([same] * 2), right, np.array([40, 40]), [(None, None)] * 2, PARAMS, BLIND)
    assert found.same.tolist() == [False, True]


def test_a_small_distance_alone_is_not_enough():
    left, right = (thumbnail(encode(scene(number), "PNG"))[None] for number in (1, 2))
    assert not verify(left, right, np.array([5]), FAR[:1], [(None, None)], PARAMS, BLIND).same[0]
