import time

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.service.current_model import Follower, Told, check, golden
from tests.support.http_fakes import Model, Source


@pytest.fixture
def told():
    said = []
    return said, Told(
        swapped=lambda model: said.append(f"swapped {model.version}"),
        refused=lambda: said.append("refused"),
        asked=lambda answered: said.append("asked" if answered else "down"),
    )


def follower(source, told, seconds=1000.0):
    return Follower(source, seconds=seconds, batch=3, told=told[1])


def test_the_golden_squares_are_drawn_the_same_each_time_and_differ():
    first, again = golden(24), golden(24)
    assert np.array_equal(first, again)
    assert first.shape == (4, 24, 24, 3)
    assert len({square.tobytes() for square in first}) == 4


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("nan", "finite"),
        ("sum", "add up"),
        ("labels", "2 finite numbers"),
        ("restless", "different"),
        ("raises", "of another kind"),
    ],
)
def test_a_model_that_is_none_fails_its_check(bad, reason):
    with pytest.raises(UserError, match=reason) as caught:
        check(Model(bad=bad))
    assert "\n" not in str(caught.value)


def test_a_sound_model_is_checked_warmed_for_every_size_of_batch_and_taken(told):
    source = Source()
    one = follower(source, told)
    assert one.model is None
    assert one.look()
    assert one.model is source.now
    assert source.now.batches[-3:] == [1, 2, 3]
    assert told[0] == ["asked", "swapped 1"]


def test_nothing_new_is_not_loaded_again(told):
    source = Source()
    one = follower(source, told)
    assert one.look()
    assert one.look()
    assert source.loads == 1


def test_a_refused_model_leaves_the_old_one_and_is_tried_again_only_after_a_while(told, monkeypatch):
    source = Source(Model("1"))
    one = follower(source, told)
    one.look()
    source.now = Model("2", bad="nan")
    assert not one.look()
    assert not one.look()
    assert (one.model.version, source.loads) == ("1", 2)
    assert "finite" in one.problem
    later = time.monotonic() + 2100
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not one.look()
    assert not one.look()
    assert source.loads == 3
    assert told[0].count("refused") == 2


def test_another_model_after_a_refused_one_is_taken_at_once(told):
    source = Source(UserError("its file is\nanother"))
    one = follower(source, told)
    assert not one.look()
    assert one.problem == "its file is another"
    source.now = Model("3")
    assert one.look()
    assert (one.model.version, one.problem) == ("3", "")


def test_a_registry_that_is_down_changes_nothing(told):
    source = Source()
    one = follower(source, told)
    one.look()
    source.down, source.now = True, Model("2")
    assert not one.look()
    assert one.model.version == "1"
    assert told[0][-1] == "down"
    source.down = False
    assert one.look()
    assert one.model.version == "2"


def test_it_looks_by_itself_until_it_is_stopped(told):
    source = Source()
    one = follower(source, told, seconds=0.02)
    one.start()
    for version in ("1", "2"):
        source.now = Model(version)
        end = time.monotonic() + 5
        while (one.model is None or one.model.version != version) and time.monotonic() < end:
            time.sleep(0.01)
        assert one.model.version == version
    one.stop()
    loads = source.loads
    source.now = Model("3")
    time.sleep(0.1)
    assert source.loads == loads
