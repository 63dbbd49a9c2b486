"""A fine-tuning inside `dvc repro` that dies again and again comes to the weights of one that never did.

NSFW_KILLS=20 pytest -m slow tests/system/test_kills.py
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import numpy as np
import psutil
import pytest

from tests.support.system_helpers import Project

KILLS = int(os.environ.get("NSFW_KILLS", "2"))
EPOCHS = 4 * KILLS  # it must not get to its end before the last kill
READ_WEIGHTS = """
import sys, numpy as np
from pathlib import Path
from pipeline.model import network
np.savez(sys.argv[2], *network.load(Path(sys.argv[1])).get_weights())
"""


@pytest.fixture
def project(whole_run, tmp_path) -> Project:
    """A copy of the whole run, to be fine-tuned anew, in small steps."""
    root = tmp_path / "project"
    shutil.copytree(whole_run[0].root, root, ignore=shutil.ignore_patterns("runs", "checkpoints"))
    copy = Project(root)
    copy.change("finetune", epochs=EPOCHS, unfreeze="block_14", batch_size=8)
    copy.change("checkpoint", every_minutes=0.01)
    return copy


def weights(project: Project) -> list[np.ndarray]:
    out = project.root / "weights.npz"
    project.run("python", "-c", READ_WEIGHTS, "build/finetuned/model.keras", str(out))
    with np.load(out) as arrays:
        return [arrays[name] for name in arrays.files]


def curve(project: Project) -> list[tuple[int, dict[str, float]]]:
    lines = (project.root / "build/finetuned/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [(line["epoch"], line["metrics"]) for line in map(json.loads, lines) if line["epoch"] is not None]


def stage(dvc: subprocess.Popen) -> psutil.Process | None:
    """The stage's own process."""
    for process in psutil.Process(dvc.pid).children(recursive=True):
        try:
            if process.cmdline()[-2:] == ["pipeline", "finetune"] and "python" in process.name():
                return process
        except psutil.NoSuchProcess:
            continue
    return None


def begin(project: Project) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", "finetune"],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def moment(project: Project, draw: random.Random, dvc: subprocess.Popen, begun: float) -> bool:
    """Wait for the moment to kill in, a third of them inside the write of a checkpoint; False: the run ended first."""
    written = project.root / ".cache/checkpoints"

    def under_way() -> bool:
        """Whether this process has saved something."""
        with suppress(FileNotFoundError):  # moved in between
            return any(path.stat().st_mtime > begun for path in written.glob("finetune-*/current.npz"))
        return False

    def writing() -> bool:
        return under_way() and bool(list(written.glob("finetune-*/.next.npz.*.tmp")))

    inside = draw.random() < 1 / 3
    later = draw.uniform(0, 2)
    while dvc.poll() is None and not (writing() if inside else under_way()):
        time.sleep(0.001)
    if not inside:
        time.sleep(later)
    return dvc.poll() is None


@pytest.mark.slow
def test_killed_at_any_moment_it_comes_to_the_same_end(project, tmp_path):
    project.repro("--force", "--single-item", "finetune")
    straight, lines = weights(project), curve(project)
    assert [epoch for epoch, _ in lines] == list(range(EPOCHS))
    shutil.rmtree(project.root / "build/finetuned")
    shutil.rmtree(project.root / ".cache/runs")

    draw, kills, done_before = random.Random(1), Counter(), 0
    while sum(kills.values()) < KILLS:
        begun, dvc = time.time(), begin(project)
        how = draw.choice([signal.SIGKILL, signal.SIGTERM])
        assert moment(project, draw, dvc, begun), "it got to its end before the last kill"
        process = stage(dvc)
        assert process is not None
        process.send_signal(how)
        assert dvc.wait(300) != 0
        kills[how.name] += 1
        records = list((project.root / ".cache/runs").iterdir())
        assert len(records) == 1  # one run
        metrics = records[0] / "metrics.jsonl"
        logged = metrics.read_text(encoding="utf-8").count("\n") if metrics.exists() else 0
        assert logged >= done_before  # an epoch once done is never lost
        done_before = logged
    print(f"killed {dict(kills)}, with {done_before} of {EPOCHS} epochs done")
    assert sum(kills.values()) == KILLS

    project.repro("--force", "--single-item", "finetune")
    for left, right in zip(weights(project), straight, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
    assert curve(project) == lines
    synced = json.loads(project.nsfw("sync", "--json").stdout)
    run_id = next(record["run_id"] for record in synced["records"] if "finetune" in record["record_id"])
    history = project.run(
        "python",
        "-c",
        "import sys, json; from pipeline.tracking import server\n"
        "with server.session() as client:\n"
        " print(json.dumps([m.step for m in client.get_metric_history(sys.argv[1], 'val_macro_recall')]))",
        run_id,
    )
    assert json.loads(history.stdout.splitlines()[-1]) == list(range(EPOCHS))
