"""A whole project that is renamed or copied, and experiments that DVC runs in a folder of their own."""

import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from tests.support.system_helpers import Project

pytestmark = [pytest.mark.slow, pytest.mark.rare]  # copies of a whole project, and experiments in it


def digests(root: Path) -> dict[str, bytes]:
    """MLflow's files, and what commands keep beside them."""
    files = [root / "mlflow.db", *(root / "mlartifacts").rglob("*"), *(root / ".cache").rglob("*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files if path.is_file()}


@pytest.fixture
def copy(synced, tmp_path) -> Project:
    """The whole project, copied with its store."""
    root = tmp_path / "copy"
    shutil.copytree(synced[0].root, root, symlinks=True)
    return Project(root)


def promote(project: Project) -> str:
    failed = json.loads(project.nsfw("gates", "--json", check=False).stdout)["failed"]
    over = [word for gate in failed for word in ("--override", gate)]
    done = project.nsfw("promote", *over, "--reason", "in the copy", check=False)
    return done.stdout + done.stderr


def test_a_copy_then_renamed_reruns_nothing_and_leaves_the_original_alone(synced, copy):
    original = synced[0].root
    before = digests(original)
    output = promote(copy)
    assert "promoted: nsfw " in output or "is in production already" in output  # as another test's doing
    moved = Project(copy.root.rename(copy.root.with_name("renamed, too")))
    assert moved.ran(moved.repro()) == []
    shutil.rmtree(moved.root / ".cache/evidence")
    done = moved.nsfw("gates", "--json", check=False)
    assert "was moved or copied here from" in done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["unfetched"], outcome["gates"][0]["status"]) == ("", "pass")
    assert "of nsfw is loaded" in moved.nsfw("verify").stdout
    assert digests(original) == before


def wait(project: Project) -> None:
    """Until DVC's workers have ended both experiments."""
    end = time.monotonic() + 1200
    while (output := project.run("python", "-m", "dvc", "queue", "status").stdout).count("Success") < 2:
        assert "Failed" not in output, output
        assert time.monotonic() < end, output
        time.sleep(10)  # a look takes a second of CPU time that the experiments could use


def count(project: Project, table: str) -> int:
    with sqlite3.connect(project.root / "mlflow.db") as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 -- our own names


def test_temporary_experiments_are_in_the_projects_store(copy):
    for arguments in (
        ["config", "user.name", "t"],
        ["config", "user.email", "t@example.org"],
        ["add", "-A"],
        ["commit", "-q", "--allow-empty", "-m", "as it was built"],
    ):
        copy.run("git", *arguments)
    runs, versions = count(copy, "runs"), count(copy, "model_versions")
    for number, change in enumerate(("train.dropout=[0.3,0.25]", "evaluate.target_recall=0.6")):
        copy.run("python", "-m", "dvc", "exp", "run", "--queue", "-n", f"e{number}", "-S", change)
    copy.run("python", "-m", "dvc", "queue", "start", "-j", "2")
    wait(copy)
    shown = copy.run("python", "-m", "dvc", "exp", "show", "--csv").stdout
    assert "e0" in shown
    assert "e1" in shown
    # Two experiments at a time; of the first a train and a finetune; and no version of either.
    assert count(copy, "runs") == runs + 2
    assert count(copy, "model_versions") == versions
    copy.run("python", "-m", "dvc", "exp", "apply", "e1")
    registered = json.loads((copy.root / "build/registered.json").read_text(encoding="utf-8"))
    assert registered["pending"]
    report = json.loads(copy.nsfw("sync", "--json").stdout)
    assert (report["problems"], report["registration"]["pending"]) == ([], False)
    assert count(copy, "model_versions") == versions + 1
    assert count(copy, "runs") == runs + 2
    copy.run("python", "-m", "dvc", "exp", "branch", "e0", "other")
