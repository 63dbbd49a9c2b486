"""A project in git and DVC with an MLflow store, and versions that were trained at its commits."""

import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.support.version_fixtures import client, params, project, store, template

__all__ = ["client", "params", "project", "store", "template"]  # fixtures

IGNORED = ("/data", "/.cache", "/build", "/mlflow.db*", "/mlartifacts", "/in.csv", "/packed", "/gathered")


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit(decisions: str) -> str:
    """Version data/ with another decisions.csv, and commit; return the commit."""
    path = Path("data/decisions.csv")
    path.unlink(missing_ok=True)  # DVC's cache may link to it
    path.write_text(decisions, encoding="utf-8")
    with Repo() as repo:
        repo.add("data")
    git("add", "-A")
    git("commit", "-q", "-m", decisions)
    return git("rev-parse", "HEAD")


def checkout(*arguments: str) -> None:
    git("checkout", "-q", *arguments)
    with Repo() as repo:
        repo.checkout("data.dvc", force=True)


def contents() -> set[str]:
    """What the files of DVC's cache hold, without lists of folders."""
    files = Path(".dvc/cache/files/md5").glob("??/*")
    return {path.read_text(encoding="utf-8") for path in files if not path.name.endswith(".dir")}


@pytest.fixture
def versioned(params, monkeypatch) -> Path:
    """A repository with one commit on the branch main, whose data/ has one shard and decisions `one`."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    Path(".gitignore").write_text("\n".join(IGNORED) + "\n", encoding="utf-8")
    git("init", "-q", "-b", "main")
    Repo.init().close()
    Path("data/shards").mkdir(parents=True)
    Path("data/shards/b0.tar").write_text("shard", encoding="utf-8")
    commit("one")
    return Path.cwd()
