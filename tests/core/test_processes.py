"""Workers end when their parent is killed by kill -9."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "killed_parents.py"


@pytest.mark.parametrize("kind", ["sandbox busy", "sandbox idle", "shards busy", "shards idle", "stdin"])
def test_workers_end_with_a_parent_that_is_killed(kind):
    parent = subprocess.Popen([sys.executable, SCRIPT, kind], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout.readline() == "busy\n"
        time.sleep(0.3)
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= (1 if kind == "stdin" else 3)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=3)
    for child in alive:
        child.kill()
    assert alive == []
