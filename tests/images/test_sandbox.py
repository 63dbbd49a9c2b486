import os
import subprocess
import sys
import time
from multiprocessing import active_children
from multiprocessing.connection import wait

import pytest

from pipeline.images import sandbox, worker_process
from pipeline.images.sandbox import Failure, WorkerLimits, run, submit
from tests.support.misbehaving import act

COST = WorkerLimits(seconds=1.0, memory_mb=256, workers=2)
ONE = WorkerLimits(seconds=1.0, memory_mb=256, workers=1)


def test_a_bad_item_costs_itself_alone_and_order_is_kept():
    items = [f"item {n}" for n in range(100)]  # several chunks
    bad = {3: "hang", 4: "exit", 40: "segfault", 41: "reject", 99: "hog"}
    for index, what in bad.items():
        items[index] = what
    outcomes = list(run(act, items, COST))
    failures = {index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, Failure)}
    assert {index: failure.code for index, failure in failures.items()} == {
        3: "timeout", 4: "crashed", 40: "crashed", 41: "broken", 99: "memory",
    }  # fmt: skip
    assert str(failures[3]) == "timeout: not done within 1 s of CPU time"
    assert str(failures[41]) == "broken: not whole"
    assert "exit code 3" in failures[4].detail
    assert [item.upper() for index, item in enumerate(items) if index not in bad] == [
        outcome for index, outcome in enumerate(outcomes) if index not in bad
    ]


def test_items_run_in_other_processes_that_leave_no_core_and_serve_again():
    first, second = list(run(act, ["pid"], COST)), list(run(act, ["dump"], COST))
    assert first != [str(os.getpid())]
    assert second == ["(0, 0)"]
    started = time.monotonic()
    assert list(run(act, [], COST)) == []
    assert list(run(act, ["a"], COST)) == ["A"]
    assert time.monotonic() - started < 5.0  # the workers are there already


def test_a_defect_of_ours_is_no_failure_of_a_picture():
    with pytest.raises(ZeroDivisionError, match="ours"):
        list(run(act, ["a", "defect"], COST))


def test_the_limit_is_each_items_own_and_of_cpu_time():
    assert list(run(act, ["burn 0.4"] * 6, COST)) == ["BURN 0.4"] * 6  # one message
    waiting = list(run(act, ["wait"], WorkerLimits(seconds=1.0, memory_mb=256, workers=2, wall_seconds=0.3)))
    assert [str(failure) for failure in waiting] == [
        "unavailable: not done within 0.3 s, though its CPU time was not used up"
    ]


def test_what_is_killed_from_outside_is_no_verdict_about_the_bytes():
    codes = ["killed", "hang", "segfault", "hog", "reject"]
    outcomes = list(run(act, codes, COST))
    assert [(failure.code, failure.final) for failure in outcomes] == [
        ("unavailable", False), ("timeout", False), ("crashed", False), ("memory", False), ("broken", True),
    ]  # fmt: skip


def test_workers_that_are_killed_while_they_wait_cost_nobody():
    before = set(run(act, ["pid"], COST))
    for worker in active_children():
        worker.kill()
    assert list(run(act, ["a", "b"], COST)) == ["A", "B"]
    assert set(run(act, ["pid"], COST)).isdisjoint(before)


def test_a_worker_that_ran_out_of_memory_is_replaced():
    (before,) = run(act, ["pid"], ONE)
    assert next(run(act, ["hog"], ONE)).code == "memory"
    assert list(run(act, ["pid"], ONE)) != [before]


def test_an_answer_that_does_not_travel_is_a_defect_and_costs_no_worker():
    (before,) = run(act, ["pid"], ONE)
    with pytest.raises(RuntimeError, match="an answer cannot be sent"):
        list(run(act, ["unpicklable"], ONE))
    assert list(run(act, ["pid"], ONE)) == [before]


def test_a_pool_that_was_stopped_is_replaced():
    assert list(run(act, ["a"], COST)) == ["A"]
    sandbox.stop()
    assert active_children() == []
    assert list(run(act, ["b"], COST)) == ["B"]
    assert submit(act, "b", COST).result(20) == "B"


def test_workers_that_cannot_start_are_a_clear_error(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "from pipeline.core.errors import run\nfrom pipeline.images import sandbox\n"
        "if __name__ == '__mp_main__':\n    raise SystemExit(3)\n"
        "if __name__ == '__main__':\n"
        "    run(lambda: list(sandbox.run(len, ['a'], sandbox.WorkerLimits(1.0, 256, 2))))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the worker processes that open files cannot be started")
    assert "Traceback" not in done.stderr


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


def test_the_next_item_is_not_blamed_for_a_worker_that_died_of_the_one_before(monkeypatch):
    """The fork server may report a death a moment before the sentinel does: until then a worker looks alive."""
    monkeypatch.setattr(
        worker_process, "wait", lambda waited, seconds=None: [] if seconds == 0.0 else wait(waited, seconds)
    )
    futures = [submit(act, what, ONE) for what in ("exit", "b", "exit", "c")]
    outcomes = [future.result(20) for future in futures]
    assert [outcomes[0].code, outcomes[1], outcomes[2].code, outcomes[3]] == ["crashed", "B", "crashed", "C"]


def test_who_no_longer_wants_an_item_frees_its_worker():
    one = WorkerLimits(seconds=30.0, memory_mb=256, workers=1)
    submit(act, "a", one).result(20)
    begun = time.monotonic()
    hanging = submit(act, "hang", one)
    time.sleep(0.3)
    assert hanging.cancel()
    assert submit(act, "b", one).result(20) == "B"
    assert time.monotonic() - begun < 10.0
