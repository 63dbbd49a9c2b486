"""The commits whose data stays: those of branches, tags, experiments, stashes and work trees, and of versions."""

import re
from collections.abc import Mapping, Sequence
from shlex import quote

from pipeline.core import git
from pipeline.core.errors import UserError
from pipeline.registry.version_needs import VersionNeeds

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# Of an annotated tag, git prints the tag's own id and, behind it, that of the commit.
_FORMAT = "--format=%(refname:short) %(objecttype) %(objectname) %(*objecttype) %(*objectname)"


def check_repository() -> None:
    """Raise UserError unless this is a git repository with a commit and without a conflict."""
    head = git.run("rev-parse", "--verify", "HEAD^{commit}")
    if head.text is None:
        raise UserError(
            f"git has no commit here ({head.problem}), so that nobody can tell what DVC's cache is used for. "
            "`git init` and commit, or run this in the project's own checkout."
        )
    unmerged = (git.run("ls-files", "--unmerged").text or "").split("\n")
    if names := sorted({line.partition("\t")[2] for line in unmerged if line}):
        raise UserError(
            f"git has a conflict in {', '.join(names[:5])}, so that what the workspace uses is not known. Resolve it "
            "(`nsfw data merge` for data.dvc), commit, and run this again."
        )


def of_refs() -> dict[str, str]:
    """Return the name of a branch, tag or other ref by its commit; HEAD of every work tree with them."""
    named: dict[str, str] = {}
    for line in _lines("for-each-ref", _FORMAT):
        name, *rest = line.rsplit(" ", 4)
        commits = [sha for kind, sha in (rest[:2], rest[2:]) if kind == "commit"]
        named |= {sha: name for sha in commits if sha not in named}
    for line in _lines("worktree", "list", "--porcelain"):
        key, _, sha = line.partition(" ")
        if key == "HEAD" and _is_commit(sha):
            named.setdefault(sha, "HEAD")
    return named


def of_versions(needs: Sequence[VersionNeeds]) -> dict[str, str]:
    """Return the name of a version by its commit, of those that git has.

    Raises:
        UserError: git lacks the commit of a version that has to be rebuilt from here; each is named.

    """
    named: dict[str, str] = {}
    lost = []
    for need in needs:
        if need.commit is None:
            continue
        if _is_commit(need.commit):
            named.setdefault(need.commit, need.name)
        elif need.is_ours:
            lost.append(need)
    if lost:
        listed = ", ".join(f"{need.name} ({need.commit})" for need in lost)
        raise UserError(
            f"git lacks the commit of {listed}, so that what it needs is not known. {_way_out(str(lost[0].commit))}, "
            "and tag it there (`git tag`) so that it stays; or delete a version that nobody needs from the registry."
        )
    return named


def unreachable(named: Mapping[str, str]) -> dict[str, str]:
    """Return those of these commits that no branch or tag leads to: git itself will delete them one day."""
    return {
        sha: name
        for sha, name in named.items()
        if not (git.run("for-each-ref", "--count=1", f"--contains={sha}").text or "").strip()
    }


def _way_out(commit: str) -> str:
    if (git.run("rev-parse", "--is-shallow-repository").text or "").strip() == "true":
        return "This clone is shallow: fetch it by `git fetch --unshallow --tags`"
    return f"Fetch it (`git fetch --tags`, `git fetch origin {quote(commit)}`) from a clone that has it"


def _is_commit(sha: str) -> bool:
    """Whether git has the commit; anybody may have written the tag that names it."""
    return bool(_COMMIT.fullmatch(sha)) and git.run("cat-file", "-e", f"{sha}^{{commit}}").text is not None


def _lines(*arguments: str) -> list[str]:
    output = git.run(*arguments)
    if output.text is None:
        raise UserError(f"`git {arguments[0]}` fails: {output.problem}")
    return [line for line in output.text.splitlines() if line.strip()]
