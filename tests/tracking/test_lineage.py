import subprocess
from pathlib import Path

import pandas as pd
import pytest

from pipeline.tracking import lineage
from pipeline.tracking.live_publisher import commit_doubt


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    for name in ("code.py", "dvc.lock"):
        Path(name).write_text("one\n")
    Path(".gitignore").write_text("ignored\n")
    Path("data.dvc").write_text("outs:\n- md5: abc.dir\n  path: data\n")
    git("add", ".")
    git("commit", "-qm", "first")
    return tmp_path


def test_a_clean_tree(repository):
    state = lineage.git_state(Path())
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    assert lineage.git_diff() == ""


def test_dvc_lock_and_ignored_files_do_not_make_it_dirty(repository):
    Path("dvc.lock").write_text("two\n")
    Path("ignored").write_text("x")
    assert lineage.git_state(Path())["dirty"] is False
    assert lineage.git_diff() == ""


def test_a_change_is_seen_with_its_diff_staged_or_not(repository):
    Path("code.py").write_text("two\n")
    assert lineage.git_state(Path())["dirty"] is True
    assert "+two" in lineage.git_diff()
    git("add", "code.py")
    assert "+two" in lineage.git_diff()


def test_untracked_files_are_listed_by_their_real_names(repository):
    Path("new file\n.py").write_text("x")
    state = lineage.git_state(Path())
    assert state["dirty"] is True
    assert state["untracked"] == ["new file\n.py"]


def test_a_subfolder_sees_the_whole_tree(repository):
    Path("sub").mkdir()
    Path("code.py").write_text("two\n")
    assert lineage.git_state(Path("sub"))["dirty"] is True
    assert "+two" in lineage.git_diff(Path("sub"))


def test_without_git_commits_or_data_fields_are_null(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    captured = lineage.capture(tmp_path)
    problem = captured["git"].pop("problem")
    assert captured["git"] == {"commit": None, "dirty": None, "untracked": [], "tree": None}
    assert problem.startswith("fatal: not a git repository")
    assert captured["data_md5"] is None
    monkeypatch.setenv("PATH", "")
    git_state = lineage.capture(tmp_path)["git"]
    assert (git_state["commit"], git_state["problem"]) == (None, "git is not installed")


def test_a_repository_without_a_commit_says_so(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert "single revision" in lineage.git_state(tmp_path)["problem"]


def test_a_repository_of_another_owner_gives_gits_own_reason(repository, monkeypatch):
    assert lineage.git_state(Path())["problem"] is None
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a container's mount
    monkeypatch.setenv("HOME", str(repository))  # without a safe.directory
    state = lineage.git_state(Path())
    assert state["commit"] is None
    assert "dubious ownership" in state["problem"]
    assert "git config --global --add safe.directory" in state["problem"]


def test_what_nobody_could_rebuild_is_said_when_it_starts(repository):
    assert commit_doubt(lineage.git_state(Path())) is None
    Path("code.py").write_text("two\n")
    assert "uncommitted changes" in commit_doubt(lineage.git_state(Path()))
    assert "git: why" in commit_doubt({"commit": None, "problem": "why"})


def test_capture_tells_data_packages_and_hardware(repository):
    captured = lineage.capture()
    assert captured["data_md5"] == "abc.dir"
    assert captured["packages"]["numpy"]
    assert captured["hardware"]["memory_bytes"] > 2**28
    assert captured["hardware"]["cores"] >= 1


@pytest.mark.parametrize("text", ["", "outs: []", "[", "outs: 3"])
def test_a_broken_data_dvc_gives_no_md5(tmp_path, text):
    (tmp_path / "data.dvc").write_text(text)
    assert lineage.data_md5(tmp_path / "data.dvc") is None


def test_a_folders_digest_follows_names_and_bytes(tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"1")
    (folder / "sub" / "b").write_bytes(b"2")
    seen = {lineage.digest(folder)}
    (folder / "sub" / "b").write_bytes(b"3")
    seen.add(lineage.digest(folder))
    (folder / "sub" / "b").rename(folder / "b")
    seen.add(lineage.digest(folder))
    assert len(seen) == 3
    assert lineage.digest(folder) in seen


def test_rows_of_a_table(tmp_path):
    pd.DataFrame({"a": range(7)}).to_parquet(tmp_path / "t.parquet")
    assert lineage.describe_input(tmp_path / "t.parquet")["rows"] == 7
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert lineage.describe_input(tmp_path / "broken.parquet")["rows"] is None
