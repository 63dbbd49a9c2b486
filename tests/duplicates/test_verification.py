from pathlib import Path

import numpy as np

from pipeline.duplicates.full_resolution import PairInspector, PairMeasures
from pipeline.duplicates.verification import METHODS, confirm, correlate, verify
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from tests.support.copies import COPIES, scene, thumbnail
from tests.support.dedupe_params import LIMITS, PARAMS
from tests.support.pictures import encode

FAR = np.full(3, 256)
BLIND = PairInspector(Path("nowhere"), Limits(), sandbox.WorkerLimits(1, 256))


def test_flat_thumbnails_correlate_with_nothing():
    flat = np.full((1, 64, 64), 90, dtype=np.uint8)
    assert correlate(flat, flat).tolist() == [0.0]


def inspect_as(monkeypatch, *rows):
    """Let the inspector return `rows` (pieces, edges, side, differing, keypoints) for the next pairs."""
    given = list(rows)

    def inspect(self, pairs, enough, block):
        rows_of_pairs, given[:] = given[: len(pairs)], given[len(pairs) :]
        return PairMeasures(*np.array(rows_of_pairs, dtype=np.float64).reshape(-1, 5).T)

    monkeypatch.setattr(PairInspector, "inspect", inspect)


def test_questions_are_asked_in_turn_and_only_where_needed(monkeypatch):
    same, cut = thumbnail(encode(scene(1), "PNG")), thumbnail(COPIES["crop"](scene(1)))
    other = thumbnail(encode(scene(2), "PNG"))
    inspect_as(monkeypatch)
    pairs = [(None, None)] * 3
    verdicts = verify(
        np.stack([same] * 3), np.stack([same, cut, other]), np.array([0, 40, 70]), FAR, pairs, PARAMS, BLIND
    )
    assert verdicts.same.tolist() == [True, True, False]
    assert [METHODS[method] for method in verdicts.method] == ["hash", "thumbnail", "thumbnail"]
    # Between unlike and same, and too far for `likely`: compared at full resolution.
    strict = PARAMS.model_copy(
        update={
            "match_correlation": 1.0,
            "advanced": LIMITS.model_copy(
                update={"identical_distance": 0, "similar_distance": 0, "extended_distance": 0}
            ),
        }
    )
    inspect_as(monkeypatch, (0.99, 0.99, 224, 0, 0), (0.5, 0.5, 224, 0, 30), (0.5, 0.5, 224, 0, 10))
    doubtful = verify(np.stack([same] * 3), np.stack([cut] * 3), np.array([40] * 3), FAR, pairs, strict, BLIND)
    assert doubtful.same.tolist() == [True, True, False]
    assert doubtful.score.tolist() == [0.99, 30.0, 0.5]
    assert [METHODS[method] for method in doubtful.method] == ["pieces", "keypoints", "pieces"]


def test_who_joins_a_cluster_is_looked_at_in_full_unless_sure(monkeypatch):
    same, cut = thumbnail(encode(scene(1), "PNG")), thumbnail(COPIES["crop"](scene(1)))
    inspect_as(monkeypatch, (0.97, 0.95, 224, 0, 0), (0.4, 0.4, 224, 0, 3))
    right = np.stack([same, cut, cut])
    verdicts = confirm(np.stack([same] * 3), right, np.array([0, 40, 40]), [(None, None)] * 3, PARAMS, BLIND)
    assert verdicts.same.tolist() == [True, True, False]
    assert [METHODS[method] for method in verdicts.method] == ["hash", "pieces", "pieces"]


def test_the_next_shot_of_a_burst_is_another_picture_unless_it_is_too_small_to_tell(monkeypatch):
    one, other = (
        thumbnail(encode(scene(1), "PNG")),
        thumbnail(encode(scene(2), "PNG")),
    )  # reframed: unlike as they stand
    inspect_as(
        monkeypatch, (0.97, 0.85, 224, 0, 0), (0.97, 0.95, 224, 0, 0), (0.97, 0.85, 100, 0, 0), (0.9, 0.95, 224, 0, 0)
    )
    verdicts = confirm(
        np.stack([one] * 4), np.stack([other] * 4), np.array([60] * 4), [(None, None)] * 4, PARAMS, BLIND
    )
    assert verdicts.same.tolist() == [False, True, True, False]
    # In place, a copy may have lost more.
    inspect_as(monkeypatch, (0.9, 0.5, 224, 0, 0))
    assert confirm(one[None], one[None], np.array([30]), [(None, None)], PARAMS, BLIND).same.tolist() == [True]


def test_pieces_that_agree_are_outvoted_by_a_block_that_differs(monkeypatch):
    same, cut = thumbnail(encode(scene(1), "PNG")), thumbnail(COPIES["crop"](scene(1)))
    inspect_as(monkeypatch, (0.99, 0.99, 224, 0.02, 0), (0.99, 0.99, 224, 0.005, 0))
    right = np.stack([cut, cut])
    verdicts = confirm(np.stack([same] * 2), right, np.array([40, 40]), [(None, None)] * 2, PARAMS, BLIND)
    assert verdicts.same.tolist() == [False, True]


def test_a_small_distance_alone_is_not_enough():
    left, right = (thumbnail(encode(scene(number), "PNG"))[None] for number in (1, 2))
    assert not verify(left, right, np.array([5]), FAR[:1], [(None, None)], PARAMS, BLIND).same[0]
