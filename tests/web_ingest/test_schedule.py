"""Turns of hosts, on a clock of our own."""

import asyncio

import pytest

from pipeline.web_ingest.pace import Pace
from pipeline.web_ingest.schedule import Schedule


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_host_has_a_turn_each_delay_and_none_in_a_pause():
    clock = Clock()
    pace = Pace(2.0, clock=clock)
    assert [pace.take("a"), pace.take("a"), pace.take("b")] == [0.0, 2.0, 0.0]
    assert pace.wait("a") == 4.0
    pace.pause("a", 10.0)
    pace.pause("a", 1.0)  # shortens nothing
    assert pace.take("a") == 10.0
    pace.slow_down("b", 7.0)
    assert [pace.take("b"), pace.take("b")] == [2.0, 9.0]
    clock.now += 60
    assert pace.wait("a") < 0
    assert pace.take("a") == 0.0


def test_a_paused_host_holds_up_no_other_and_no_host_has_too_many():
    pace = Pace(0.0)
    schedule = Schedule(pace, per_host=2)
    for host, url in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")):
        schedule.add(host, url)
    pace.pause("a", 0.3)

    async def run() -> list[str]:
        turns = [await asyncio.wait_for(schedule.take(), 5) for _ in range(3)]
        with pytest.raises(TimeoutError):  # a3 waits until one of the others is finished
            await asyncio.wait_for(schedule.take(), 0.05)
        schedule.finish(turns[1][0])
        return [url for _, url in [*turns, await schedule.take()]]

    assert asyncio.run(run()) == ["b1", "a1", "a2", "a3"]


def test_what_comes_again_is_first_of_its_host_and_what_was_dropped_never_comes():
    schedule = Schedule(Pace(0.0), per_host=1)
    for url in ("a1", "a2", "a3"):
        schedule.add("a", url)

    async def run() -> list[str]:
        lane, first = await schedule.take()
        schedule.again(lane, first, 0.0)
        lane, again = await schedule.take()
        dropped = list(schedule.drop(lane))
        schedule.finish(lane)
        return [first, again, *dropped, str(await schedule.take())]

    assert asyncio.run(run()) == ["a1", "a1", "a2", "a3", "None"]
