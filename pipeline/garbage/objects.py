"""Objects of DVC's cache that no branch, tag, version or workspace uses."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from pipeline.core import git
from pipeline.core.errors import UserError
from pipeline.data.dvc_objects import Cache, CacheObject
from pipeline.garbage import commits
from pipeline.garbage.parts import Group, Item, Part, shown
from pipeline.registry.version_needs import VersionNeeds

NAME = "DVC's cache"
_WORKSPACE = "the workspace"


def plan(cache: Cache, needs: Sequence[VersionNeeds] | None, *, without_versions: bool) -> Part:
    """Return what goes; a part with a problem where it is not known what is used.

    Args:
        cache: DVC's cache, locked.
        needs: those of all versions; None if MLflow cannot tell.
        without_versions: go by branches and tags alone, if no version of this project is registered.

    """
    try:
        return _plan(cache, _checked(needs, without_versions=without_versions))
    except UserError as error:
        return Part(NAME, problem=str(error))


def _checked(needs: Sequence[VersionNeeds] | None, *, without_versions: bool) -> Sequence[VersionNeeds]:
    if needs is None:
        raise UserError("what registered versions need is not known, as MLflow does not answer.")
    if not needs and not without_versions:
        raise UserError(
            "this MLflow store has no registered version. If yours are in another store, set MLFLOW_TRACKING_URI; if "
            "there are none, --without-versions goes by branches and tags alone."
        )
    return needs


def _plan(cache: Cache, needs: Sequence[VersionNeeds]) -> Part:
    if cache.is_shared:
        raise UserError(
            f"{cache.folder} lies outside of this project, and others may use it. `dvc gc --projects` takes them in."
        )
    commits.check_repository()
    of_versions = commits.of_versions(needs)
    named = {**of_versions, **commits.of_refs()}
    folders = {need.data_md5: need.name for need in needs if need.data_md5 and need.is_ours}
    unused = cache.unused(sorted(named), [need.data_md5 for need in needs if need.data_md5])
    _check_lists(cache, {sha: of_versions.get(sha, name) for sha, name in named.items()}, folders)
    rest = (
        f"{cache.used_count} objects stay: the workspace, {len(named)} commits of branches, tags and versions, or the "
        "data that versions learned from use them"
    )
    lonely = tuple(
        f"commit {sha[:12]} of {name} is on no branch and has no tag, so that git will delete it one day: `git tag "
        f"{_slug(name)} {sha[:12]}` prevents that"
        for sha, name in commits.unreachable(of_versions).items()
    )
    reason = "no branch, tag, experiment, stash, registered version or workspace uses them"
    items = tuple(_item(each) for each in unused)
    return Part(NAME, (Group("objects", reason, items),) if items else (), notes=(rest, *lonely))


def _slug(name: str) -> str:
    """Return a name for a tag; anybody may have named a registered model, and people paste it into a shell."""
    return re.sub(r"[^\w.-]+", "-", name.partition(" (")[0])


def _item(each: CacheObject) -> Item:
    what = "the list of a folder's files" if each.md5.endswith(".dir") else each.name
    return Item(shown(each.path), each.size, what)


def _check_lists(cache: Cache, named: Mapping[str, str], folders: Mapping[str, str]) -> None:
    """Raise UserError if the files of a versioned folder that has to stay are not known.

    Outputs of stages are left out: `dvc repro` makes them again.
    """
    pointers = {_WORKSPACE: _folders_of(None)}
    pointers |= {f"{name} ({sha[:12]})": _folders_of(sha) for sha, name in named.items()}
    lacking = [f"{md5} of {name}" for name, folder in pointers.items() for md5 in folder if not cache.has(md5)]
    lacking += [f"{md5} of {name}" for md5, name in folders.items() if not cache.has(md5)]
    if lacking:
        raise UserError(
            f"the list of files is neither in DVC's cache nor in its remote: {'; '.join(dict.fromkeys(lacking))}, so "
            "that what it needs is not known. Whoever has it has to `dvc push` (then `dvc fetch --all-commits`); or "
            "delete the branch, tag or version, if nobody needs it."
        )


def _folders_of(commit: str | None) -> list[str]:
    """Return the md5 of every folder that the .dvc files of a commit, or of the work tree, name."""
    if commit is None:
        texts: Iterable[str] = (
            path.read_text(encoding="utf-8") for path in sorted(Path().glob("*.dvc")) if path.is_file()
        )
    else:
        listed = (git.run("ls-tree", "--name-only", commit).text or "").splitlines()
        names = [name for name in listed if name.endswith(".dvc")]
        texts = (git.run("show", f"{commit}:./{name}").text or "" for name in names)
    return [md5 for text in texts for md5 in _folders_in(text)]


def _folders_in(text: str) -> Iterator[str]:
    try:
        for out in yaml.safe_load(text)["outs"]:
            if str(out.get("md5", "")).endswith(".dir"):
                yield str(out["md5"])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return  # DVC itself has refused it
