"""Worker processes, kept busy or left idle by a parent that a test kills: `python killed_parents.py KIND`."""

import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.core import executor, processes
from pipeline.images import sandbox
from tests.support.misbehaving import act

LIMITS = sandbox.WorkerLimits(seconds=100.0, memory_mb=512, workers=2)


def begin(kind: str) -> None:
    """Start workers, print a line, and wait for them."""
    if kind == "stdin":
        child = subprocess.Popen([sys.executable, __file__, "stubborn"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        futures = child.stdout.readline()
    elif kind.startswith("sandbox"):
        list(sandbox.run(act, ["a"], LIMITS))
        futures = [sandbox.submit(act, "hang", LIMITS) for _ in range(2)] if kind == "sandbox busy" else []
    else:
        work = "hang" if kind == "shards busy" else "a"
        futures = executor.map_shards(sandboxed, ["a", "a", work, work])
        next(futures)
    print("busy", flush=True)
    time.sleep(1)
    list(futures)
    time.sleep(100)


def stubborn() -> None:
    """Ignore requests to stop, like a worker of a search in a long batch."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    processes.stop_with_stdin(0.5)
    print("busy", flush=True)
    while True:
        pass


def sandboxed(what: str) -> str:
    """Keep a shard's process busy by itself, its workers idle."""
    (done,) = sandbox.run(act, ["a"], LIMITS)
    return f"{done} {act(what)}"


if __name__ == "__main__":
    if sys.argv[1] == "stubborn":
        stubborn()
    begin(sys.argv[1])
