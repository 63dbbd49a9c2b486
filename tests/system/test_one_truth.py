"""What `dvc repro` built, what MLflow says, and what `nsfw promote` would move are one model, or a command refuses."""

import shutil

import pytest

from pipeline.promotion.agreement import MOVE
from tests.support.system_helpers import Project

# Some 25 processes; tests/promotion/test_agreement.py tests each refusal in its own process.
pytestmark = [pytest.mark.slow, pytest.mark.rare]


@pytest.fixture
def project(whole_run, tmp_path) -> Project:
    """A copy of the whole run, with a store of its own."""
    root = tmp_path / "project"
    shutil.copytree(whole_run[0].root, root, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    copy = Project(root)
    copy.nsfw("sync")
    return copy


def test_params_put_back_and_a_store_that_is_lost(project):
    assert "nsfw version 1 against nothing" in project.nsfw("gates", check=False).stdout
    params = project.root / "params.yaml"
    before = params.read_bytes()
    project.change("evaluate", target_recall=0.6)  # another operating point is another version, and takes seconds
    assert project.ran(project.repro()) == ["evaluate", "register"]
    assert "nsfw version 2 against nothing" in project.nsfw("gates", check=False).stdout
    params.write_bytes(before)
    assert project.ran(project.repro()) == []  # DVC restores what `register` wrote, and registers nothing

    for command in (["gates"], ["promote", "--reason", "x"]):
        refused = project.nsfw(*command, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "build/ holds version 1 of nsfw, but the alias challenger points at version 2" in refused.stderr
        assert f"`{MOVE}`" in refused.stderr
    project.run(*MOVE.split())
    assert "nsfw version 1 against nothing" in project.nsfw("gates", check=False).stdout

    (project.root / "mlflow.db").unlink()
    shutil.rmtree(project.root / "mlartifacts")
    refused = project.nsfw("gates", check=False)
    assert "sqlite:///mlflow.db does not have: `nsfw sync` registers it there" in refused.stderr
    done = project.nsfw("summary", check=False)
    assert (done.returncode, "PROBLEM" in done.stdout) == (1, True)
    project.nsfw("sync")
    assert "nsfw version 1 against nothing" in project.nsfw("gates", check=False).stdout
    assert project.nsfw("summary").returncode == 0
