import time

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.service.current_model import Follower, FollowerEvents, check, golden
from tests.support.http_fakes import Model, Source


@pytest.fixture
def events():
    reported = []
    return reported, FollowerEvents(
        swapped=lambda model: reported.append(f"swapped {model.version}"),
        refused=lambda: reported.append("refused"),
        polled=lambda answered: reported.append("polled" if answered else "down"),
    )


def follower(source, events, seconds=1000.0):
    return Follower(source, seconds=seconds, batch=3, events=events[1])


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


def test_a_sound_model_is_checked_warmed_for_every_size_of_batch_and_taken(events):
    source = Source()
    one = follower(source, events)
    assert one.model is None
    assert one.poll()
    assert one.model is source.now
    assert source.now.batches[-3:] == [1, 2, 3]
    assert events[0] == ["polled", "swapped 1"]


def test_nothing_new_is_not_loaded_again(events):
    source = Source()
    one = follower(source, events)
    assert one.poll()
    assert one.poll()
    assert source.loads == 1


def test_a_refused_model_leaves_the_old_one_and_is_tried_again_only_after_a_while(events, monkeypatch):
    source = Source(Model("1"))
    one = follower(source, events)
    one.poll()
    source.now = Model("2", bad="nan")
    assert not one.poll()
    assert not one.poll()
    assert (one.model.version, source.loads) == ("1", 2)
    assert "finite" in one.problem
    later = time.monotonic() + 2100
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not one.poll()
    assert not one.poll()
    assert source.loads == 3
    assert events[0].count("refused") == 2


def test_another_model_after_a_refused_one_is_taken_at_once(events):
    source = Source(UserError("its file is\nanother"))
    one = follower(source, events)
    assert not one.poll()
    assert one.problem == "its file is another"
    source.now = Model("3")
    assert one.poll()
    assert (one.model.version, one.problem) == ("3", "")


def test_a_registry_that_is_down_changes_nothing(events):
    source = Source()
    one = follower(source, events)
    one.poll()
    source.down, source.now = True, Model("2")
    assert not one.poll()
    assert one.model.version == "1"
    assert events[0][-1] == "down"
    source.down = False
    assert one.poll()
    assert one.model.version == "2"


def test_it_looks_by_itself_until_it_is_stopped(events):
    source = Source()
    one = follower(source, events, seconds=0.02)
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
