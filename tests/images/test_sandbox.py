import os
import time

import pytest
from misbehaving import act

from pipeline.images import sandbox
from pipeline.images.sandbox import Failure, Limits, run, submit

COST = Limits(seconds=2.0, memory_mb=256, workers=2)


def test_a_bad_item_costs_itself_alone_and_order_is_kept():
    items = [f"item {n}" for n in range(100)]  # several chunks
    bad = {3: "hang", 4: "exit", 40: "segfault", 41: "reject", 99: "hog"}
    for place, what in bad.items():
        items[place] = what
    outcomes = list(run(act, items, COST))
    failures = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, Failure)}
    assert {place: failure.code for place, failure in failures.items()} == {
        3: "timeout", 4: "crashed", 40: "crashed", 41: "broken", 99: "memory",
    }  # fmt: skip
    assert str(failures[3]) == "timeout: not done within 2 s"
    assert str(failures[41]) == "broken: not whole"
    assert "exit code 3" in failures[4].detail
    assert [item.upper() for place, item in enumerate(items) if place not in bad] == [
        outcome for place, outcome in enumerate(outcomes) if place not in bad
    ]


def test_items_run_in_other_processes_that_leave_no_core_and_serve_again():
    first, second = list(run(act, ["pid"], COST)), list(run(act, ["dump"], COST))
    assert first != [str(os.getpid())]
    assert second == ["(0, 0)"]
    started = time.monotonic()
    assert list(run(act, [], COST)) == []
    assert list(run(act, ["a"], COST)) == ["A"]
    assert time.monotonic() - started < 1.0  # the workers are there already


def test_a_defect_of_ours_is_no_failure_of_a_picture():
    with pytest.raises(ZeroDivisionError, match="ours"):
        list(run(act, ["a", "defect"], COST))


def test_a_pool_that_broke_down_between_calls_is_replaced():
    assert list(run(act, ["a"], COST)) == ["A"]
    broken = sandbox._sound_pool(COST.workers, COST.memory_mb)
    broken.stop()
    broken.join()
    assert list(run(act, ["b"], COST)) == ["B"]
    assert sandbox._sound_pool(COST.workers, COST.memory_mb) is not broken


def test_one_item_at_a_time_for_those_who_do_not_wait():
    whats = ["a", "reject", "exit", "hog", "b", "hang"]
    futures = {what: submit(act, what, COST) for what in whats}
    outcomes = {what: future.result(20) for what, future in futures.items()}
    assert [outcomes[what] for what in ("a", "b")] == ["A", "B"]
    assert {what: outcomes[what].code for what in ("reject", "exit", "hog", "hang")} == {
        "reject": "broken", "exit": "crashed", "hog": "memory", "hang": "timeout",
    }  # fmt: skip
    with pytest.raises(ZeroDivisionError, match="ours"):
        submit(act, "defect", COST).result(20)


def test_who_no_longer_wants_an_item_frees_its_worker():
    one = Limits(seconds=30.0, memory_mb=256, workers=1)
    submit(act, "a", one).result(20)
    begun = time.monotonic()
    hanging = submit(act, "hang", one)
    time.sleep(0.3)
    assert hanging.cancel()
    assert submit(act, "b", one).result(20) == "B"
    assert time.monotonic() - begun < 10.0


def test_a_pool_that_broke_down_is_replaced_for_one_item_too():
    assert submit(act, "a", COST).result(20) == "A"
    broken = sandbox._sound_pool(COST.workers, COST.memory_mb)
    broken.stop()
    broken.join()
    assert submit(act, "b", COST).result(20) == "B"
