import subprocess
from pathlib import Path

import pytest

from pipeline.tracking import git_trees, lineage


def git(*arguments):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    for name in ("code.py", "dvc.lock"):
        Path(name).write_text("one\n")
    git("add", ".")
    git("commit", "-qm", "first")
    return tmp_path


def test_changes_that_are_committed_later_are_found_in_their_commit(repository):
    Path("code.py").write_text("two\n")
    trained = lineage.git_state(Path())
    assert trained["dirty"]
    assert git_trees.commit_with(trained["tree"]) is None
    git("commit", "-qam", "the changes")
    commit = git("rev-parse", "HEAD")
    Path("code.py").write_text("three\n")
    git("commit", "-qam", "more")
    assert git_trees.commit_with(trained["tree"]) == commit


def test_other_changes_are_not(repository):
    Path("code.py").write_text("two\n")
    tree = git_trees.working_tree()
    Path("code.py").write_text("another two\n")
    git("commit", "-qam", "others")
    assert git_trees.commit_with(tree) is None


def test_dvc_lock_does_not_matter_and_the_index_stays(repository):
    Path("code.py").write_text("two\n")
    Path("dvc.lock").write_text("while it ran\n")
    before = git("status", "--porcelain")
    tree = git_trees.working_tree()
    assert git("status", "--porcelain") == before
    Path("dvc.lock").write_text("after it ran\n")
    git("commit", "-qam", "both")
    assert git_trees.commit_with(tree) == git("rev-parse", "HEAD")


def test_staged_changes_count_as_they_lie_on_disk(repository):
    Path("new.py").write_text("x\n")
    git("add", "new.py")
    tree = git_trees.working_tree()
    git("commit", "-qm", "new")
    assert git_trees.commit_with(tree) == git("rev-parse", "HEAD")


def test_outside_a_repository_there_is_no_tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert git_trees.working_tree() is None
    assert lineage.git_state(Path())["tree"] is None
