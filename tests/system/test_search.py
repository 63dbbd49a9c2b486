"""`nsfw tune` in a whole project: its runs in MLflow, its durability, its proposal.

NSFW_KILLS=10 pytest -m slow tests/system/test_search.py
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
from functools import cache
from pathlib import Path

import optuna
import psutil
import pytest
import yaml
from mlflow import MlflowClient

from tests.support.postgres_server import postgres
from tests.support.system_helpers import Project

__all__ = ["postgres"]  # a fixture

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("NSFW_KILLS", "2"))
TRIALS = 2 * KILLS
STATUS = {"COMPLETE": {"FINISHED"}, "PRUNED": {"KILLED", "FAILED"}, "FAIL": {"KILLED", "FAILED"}}


def small_search(original: Path, root: Path) -> Project:
    """Copy a project, with a small search, and without what it has in MLflow."""
    shutil.copytree(original, root, ignore=shutil.ignore_patterns("runs", "checkpoints", "mlflow.db*", "mlart*"))
    copy = Project(root)
    space = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))["tune"]["space"]
    space["finetune.unfreeze"] = {"choices": ["none", "block_14", "block_13"]}
    small = {"epochs": 2, "head_epochs": 2, "min_steps": 1, "subset": 0.5, "startup_trials": 2, "confirm_seeds": 2}
    small |= {"rungs": []}
    copy.change("tune", **small, space=space)
    return copy


@pytest.fixture
def project(whole_run, tmp_path) -> Project:
    """A project that has not searched yet, whose trials train the head alone: half the time."""
    copy = small_search(whole_run[0].root, tmp_path / "project")
    space = yaml.safe_load((copy.root / "params.yaml").read_text(encoding="utf-8"))["tune"]["space"]
    copy.change("finetune", unfreeze="none")
    copy.change("tune", space=space | {"finetune.unfreeze": {"choices": ["none"]}})
    return copy


@pytest.fixture(scope="module")
def searched(whole_run, tmp_path_factory) -> tuple[Project, str]:
    """A project that two workers have searched in, and what the command printed. Copy it, or search on."""
    project = small_search(whole_run[0].root, tmp_path_factory.mktemp("searched") / "project")
    return project, project.nsfw("tune", "--trials", "2", "--workers", "2", "--json").stdout


@pytest.fixture
def searched_copy(searched, tmp_path) -> Project:
    """A copy of it."""
    return small_search(searched[0].root, tmp_path / "project")


def url(project: Project) -> str:
    return f"sqlite:///{project.root}/tune.db"


def trials(storage: str, name: str = "nsfw") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(storage=connected(storage), study_name=name).get_trials()


@cache
def connected(url: str) -> optuna.storages.RDBStorage:
    """One connection for all queries: a server has a hundred."""
    return optuna.storages.RDBStorage(url)


def runs(project: Project) -> dict[str, list]:
    """The study's run, and the trials' by number, in MLflow."""
    client = MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("nsfw").experiment_id
    by_number: dict[str, list] = {}
    for run in client.search_runs([experiment], max_results=1000):
        if run.data.tags.get("nsfw.kind") in {"tune", "trial"}:
            by_number.setdefault(run.data.tags.get("nsfw.trial", run.data.tags["nsfw.kind"]), []).append(run)
    return by_number


def check_agreement(project: Project, storage: str, requested: int) -> Counter:
    """Check that so many trials are finished, none runs, and MLflow agrees with the storage about each."""
    studied, by_number = trials(storage), runs(project)
    states = Counter(one.state.name for one in studied)
    assert states["RUNNING"] == states["WAITING"] == 0
    assert states["COMPLETE"] + states["PRUNED"] == requested
    parent = by_number["tune"][0].info.run_id
    assert len(by_number["tune"]) == 1
    for one in studied:
        if one.state.name == "FAIL" and str(one.number) not in by_number:
            continue  # its worker died before it began
        (run,) = by_number[str(one.number)]
        assert run.info.status in STATUS[one.state.name], (one.number, one.state, run.info.status)
        assert run.data.tags["nsfw.trial_state"] == one.state.name
        assert run.data.tags["mlflow.parentRunId"] == parent
        if one.state.name == "COMPLETE":
            assert run.data.metrics["objective/macro_recall"] == pytest.approx(one.values[0])
    return states


def test_a_search_is_seen_in_mlflow_and_goes_on_to_a_larger_total(searched):
    project, printed = searched
    first = json.loads(printed)
    assert first["trials"]["finished"] == first["trials"]["asked"] == 2
    check_agreement(project, url(project), 2)
    first_params = [one.params for one in trials(url(project))]
    done = project.nsfw("tune", "--trials", "3")
    assert "3 of 3 trials finished" in done.stdout
    assert [one.params for one in trials(url(project))][:2] == first_params
    check_agreement(project, url(project), 3)

    by_number = runs(project)
    (parent,) = by_number["tune"]
    client = MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    plots = {entry.path for entry in client.list_artifacts(parent.info.run_id, "plots")}
    assert {f"plots/{name}" for name in ("history.png", "parallel.png", "slice.png", "search.html")} <= plots
    assert parent.info.status == "FINISHED"
    history = client.get_metric_history(parent.info.run_id, "best_objective/macro_recall")
    assert [point.value for point in history] == sorted(point.value for point in history)
    recalls = client.get_metric_history(by_number["0"][0].info.run_id, "val_recall/porn")
    assert [point.step for point in recalls] == [0, 1]
    page = client.download_artifacts(parent.info.run_id, "plots/search.html", str(project.root))
    text = Path(page).read_text(encoding="utf-8")
    assert "Plotly.newPlot" in text
    assert "<script src=" not in text  # it needs no network

    again = project.nsfw("tune", "--trials", "3")  # nothing is left to do
    assert "3 of 3 trials finished" in again.stdout
    check_agreement(project, url(project), 3)


@pytest.mark.rare  # four trainings in full; tests/tuning/test_proposal.py has what follows from them
def test_the_winner_is_confirmed_and_written_as_a_diff(searched_copy):
    project = searched_copy
    project.nsfw("tune", "--trials", "3")
    before = (project.root / "params.yaml").read_text(encoding="utf-8")
    done = project.nsfw("tune", "--trials", "3", "--write", check=False)
    seeds = [line for line in done.stderr.splitlines() if ", seed " in line]
    best = max((one for one in trials(url(project)) if one.values), key=lambda one: (one.values[0], -one.number))
    if best.number == 0:
        assert done.returncode == 1
        assert "params.yaml's own values" in done.stderr
        return
    assert len(seeds) == 4
    if done.returncode:
        assert "within noise" in done.stderr
        assert (project.root / "params.yaml").read_text(encoding="utf-8") == before
        done = project.nsfw("tune", "--trials", "3", "--write", "--anyway")  # the trainings are not repeated
    assert "expected gain in macro_recall" in done.stdout
    assert "+++ b/params.yaml" in done.stdout
    written = yaml.safe_load((project.root / "params.yaml").read_text(encoding="utf-8"))
    assert written["train"]["l2"] == pytest.approx(best.params["train.l2"], rel=1e-2)
    again = project.nsfw("tune", "--trials", "3")  # another value of what is searched is no other study
    assert "3 of 3 trials finished" in again.stdout


def begin(project: Project, *arguments: str) -> subprocess.Popen:
    # A shell's background job ignores Ctrl-C, and so would what it starts: tests are run there too.
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return subprocess.Popen(
        [sys.executable, "-c", f"{hears}; from pipeline.cli.console import main; main()", "tune", *arguments],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def workers(command: subprocess.Popen) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [
            process
            for process in psutil.Process(command.pid).children()
            if "pipeline.tuning.worker" in process.cmdline()
        ]
    return []


def test_killed_workers_lose_nothing_and_add_nothing(project):
    draw = random.Random(1)
    kills = Counter()
    while sum(kills.values()) < KILLS:
        command = begin(project, "--trials", str(TRIALS), "--workers", "2")
        lost = running(project)  # by those killed before; until they have been silent long enough
        while command.poll() is None and not running(project) - lost:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 4))
        alive = workers(command)
        if not alive:
            break  # it got to its end
        victim = draw.choice(["a worker", "all", "the command"])
        chosen = {"a worker": [draw.choice(alive)], "all": alive, "the command": [psutil.Process(command.pid)]}[victim]
        for process in chosen:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        kills[victim] += 1
        if victim != "the command":  # it starts others: end it in good order
            command.terminate()
        command.communicate(timeout=120)
        psutil.wait_procs(alive, timeout=120)
    project.nsfw("tune", "--trials", str(TRIALS), "--workers", "2")
    states = check_agreement(project, url(project), TRIALS)
    print(f"kills {dict(kills)}, states {dict(states)}")
    assert sum(kills.values()) == KILLS


def running(project: Project) -> set[int]:
    return {one.number for one in known(project) if one.state.name == "RUNNING"}


def known(project: Project) -> list[optuna.trial.FrozenTrial]:
    with suppress(Exception):  # not made yet
        return trials(url(project))
    return []


def test_ctrl_c_ends_it_soon_and_loses_nothing(project):
    command = begin(project, "--trials", "2")
    while not any(one.state.name == "RUNNING" for one in known(project)):
        time.sleep(0.1)
    command.send_signal(signal.SIGINT)
    interrupted = time.monotonic()
    _, output = command.communicate(timeout=60)
    assert time.monotonic() - interrupted < 45
    assert command.returncode == 1
    assert "goes on" in output
    assert "Traceback" not in output
    assert not [one for one in trials(url(project)) if one.state.name == "RUNNING"]
    project.nsfw("tune", "--trials", "2")
    check_agreement(project, url(project), 2)


def test_two_machines_share_a_study_in_postgres(project, postgres, tmp_path):
    other = Project(tmp_path / "other")
    shutil.copytree(project.root, other.root)
    mlflow = f"sqlite:///{project.root}/mlflow.db"
    refused = other.nsfw("tune", "--join", postgres, check=False)
    assert "no study 'nsfw'" in refused.stderr
    first = begin(project, "--trials", "4", "--storage", postgres)
    while not any(one.state.name == "COMPLETE" for one in shared(postgres)):
        assert first.poll() is None, first.communicate()
        time.sleep(0.2)
    joined = other.nsfw("tune", "--join", postgres, "--trials", "4", "--json", mlflow=mlflow)
    _, output = first.communicate(timeout=300)
    assert first.returncode == 0, output
    assert json.loads(joined.stdout)["trials"]["finished"] == 4
    assert "secret" not in joined.stdout + joined.stderr + output
    project.nsfw("tune", "--trials", "4", "--storage", postgres)
    check_agreement(project, postgres, 4)
    records = [one.user_attrs["record"] for one in trials(postgres)]
    assert len(set(records)) == len(records)


def shared(url: str) -> list[optuna.trial.FrozenTrial]:
    with suppress(Exception):
        return trials(url)
    return []
