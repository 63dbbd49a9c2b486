from pathlib import Path

import numpy as np
import yaml
from copies import COPIES, scene, thumbnail
from pictures import encode

from pipeline.images import sandbox
from pipeline.images.decode import Limits
from pipeline.images.keypoints import Eyes
from pipeline.images.verification import HOW, compare, verify
from pipeline.params import Dedupe

PARAMS = Dedupe.model_validate(
    yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["dedupe"]
)
BLIND = Eyes(Path("nowhere"), Limits(), sandbox.Limits(1, 256))


def test_flat_thumbnails_correlate_with_nothing():
    flat = np.full((1, 64, 64), 90, dtype=np.uint8)
    assert compare(flat, flat).tolist() == [0.0]


def test_questions_are_asked_in_turn_and_only_where_needed(monkeypatch):
    same, cut = thumbnail(encode(scene(1), "PNG")), thumbnail(COPIES["crop"](scene(1)))
    other = thumbnail(encode(scene(2), "PNG"))
    pairs = [(None, None)] * 3
    found = verify(np.stack([same] * 3), np.stack([same, cut, other]), np.array([0, 40, 70]), pairs, PARAMS, BLIND)
    assert found.same.tolist() == [True, True, False]
    assert [HOW[how] for how in found.how] == ["hash", "thumbnail", "thumbnail"]
    # Between unlike and same, and too far for `likely`: keypoints decide.
    monkeypatch.setattr(Eyes, "look", lambda self, asked: np.array([[30, 0], [10, 0]][: len(asked)]))
    strict = PARAMS.model_copy(update={"same": 1.0, "sure_distance": 0, "likely_distance": 0, "likely_far": 0})
    doubtful = verify(np.stack([same] * 2), np.stack([cut, cut]), np.array([40, 40]), pairs[:2], strict, BLIND)
    assert doubtful.same.tolist() == [True, False]
    assert doubtful.score.tolist() == [30.0, 10.0]
    assert [HOW[how] for how in doubtful.how] == ["keypoints", "keypoints"]


def test_a_small_distance_alone_is_not_enough():
    left, right = (thumbnail(encode(scene(number), "PNG"))[None] for number in (1, 2))
    assert not verify(left, right, np.array([5]), [(None, None)], PARAMS, BLIND).same[0]


def test_keypoints_may_object_to_thumbnails_that_differ_piece_by_piece(monkeypatch):
    same, cut = thumbnail(encode(scene(1), "PNG")), thumbnail(COPIES["crop"](scene(1)))
    monkeypatch.setattr(Eyes, "look", lambda self, asked: np.array([[0, 1], [0, 0]][: len(asked)]).reshape(-1, 2))
    asking = PARAMS.model_copy(update={"local": 1.0, "sure_distance": 0})
    found = verify(np.stack([same] * 2), np.stack([cut] * 2), np.array([40, 40]), [(None, None)] * 2, asking, BLIND)
    assert found.same.tolist() == [False, True]
    assert [HOW[how] for how in found.how] == ["keypoints", "thumbnail"]
