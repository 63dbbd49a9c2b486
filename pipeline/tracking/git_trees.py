"""Compares a working tree with commits by content: whether a commit holds exactly what a run was trained from.

A run on uncommitted changes is recorded as "dirty". If the same changes are committed afterwards, the run can still be
traced: git computes the id of a tree from its contents alone, so the commit then has the tree id of the run.
"""

import shutil
import tempfile
from pathlib import Path

from pipeline.core import git

_LOCK = "dvc.lock"  # `dvc repro` itself changes it while it runs
_COMMITS = 50  # how many are searched


def working_tree(root: Path = Path()) -> str | None:
    """Return the id of the tree of all tracked files as they are now, without dvc.lock; None outside a repository."""
    index = _git(root, {}, "rev-parse", "--git-path", "index")
    if index is None or not (root / index).is_file():
        return None
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "index"
        shutil.copyfile(root / index, copy)  # with its cached file times, so that git reads only the changed files
        return _tree(root, copy, "add", "-u", "--", ":(top)")


def commit_with(tree: str, root: Path = Path()) -> str | None:
    """Return the latest of HEAD's commits whose tree, without dvc.lock, is `tree`; None if none of the last 50 is."""
    listed = _git(root, {}, "rev-list", f"--max-count={_COMMITS}", "HEAD") or ""
    for commit in listed.split():
        with tempfile.TemporaryDirectory() as scratch:
            if _tree(root, Path(scratch) / "index", "read-tree", commit) == tree:
                return commit
    return None


def _tree(root: Path, index: Path, *fill: str) -> str | None:
    environment = {"GIT_INDEX_FILE": str(index)}
    if _git(root, environment, *fill) is None:
        return None
    _git(root, environment, "rm", "--cached", "--quiet", "--ignore-unmatch", "--", f":(top){_LOCK}")
    return _git(root, environment, "write-tree")


def _git(root: Path, environment: dict[str, str], *arguments: str) -> str | None:
    text = git.run(*arguments, root=root, environment=environment).text
    return None if text is None else text.strip()
