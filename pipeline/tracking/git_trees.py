"""What of a project git would commit, by content: whether some commit holds just what a run was trained from.

A run on uncommitted changes is "dirty" for ever in its record. If the same changes are committed afterwards, nothing is
lost: the tree's id, which git computes from contents alone, is then that of the commit.
"""

import shutil
import tempfile
from pathlib import Path

from pipeline.core import git

_LOCK = "dvc.lock"  # changes while `dvc repro` runs, by its own doing
_COMMITS = 50  # that are looked through


def working_tree(root: Path = Path()) -> str | None:
    """Return the id of the tree of all tracked files as they are now, without dvc.lock; None outside a repository."""
    index = _git(root, {}, "rev-parse", "--git-path", "index")
    if index is None or not (root / index).is_file():
        return None
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "index"
        shutil.copyfile(root / index, copy)  # with what git knows of unchanged files, so that it reads the others only
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
    text = git.ask(*arguments, root=root, environment=environment).text
    return None if text is None else text.strip()
