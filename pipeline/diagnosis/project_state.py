"""Checks of the project: git, data/, DVC's remote."""

import json
import subprocess
from pathlib import Path

from pipeline.core import git, paths
from pipeline.data import completeness, dvc_pointer, project, sightings
from pipeline.diagnosis.check import FAILED, WARNING, Check, ok
from pipeline.tracking import lineage

_SECONDS = 120.0  # for a remote to answer


def repository() -> Check:
    """Look whether models can be traced to a commit."""
    state = lineage.git_state(Path())
    if state["commit"] is None:
        remedy = "git init, then commit: a model without a commit cannot be rebuilt"
        return Check("git", FAILED, str(state["problem"]), remedy)
    if any(git.run("config", key).text is None for key in ("user.name", "user.email")):
        return Check("git", WARNING, "no user.name or user.email", "git config --global user.name ... (and user.email)")
    if state["dirty"]:
        text = "some changes or files are not committed (git status)"
        return Check("git", WARNING, text, "commit before training: else the gate `clean` fails")
    return ok("git", f"clean, at {state['commit'][:12]}")


def data() -> Check:
    """Look whether data/ is what data.dvc names."""
    if not dvc_pointer.POINTER.exists():
        return Check("data", WARNING, "no data.dvc yet", "nsfw ingest folder DIR --source NAME --fresh")
    if not paths.SIGHTINGS.is_dir():
        return Check("data", FAILED, "data.dvc tracks a data/ that is not here", "dvc pull data.dvc")
    leftovers = completeness.check(paths.DATA)
    rows = len(sightings.load(paths.SIGHTINGS))
    more = f"; {len(leftovers)} files of an interrupted ingest go with the next one" if leftovers else ""
    return ok("data", f"complete: {rows:,} sightings{more}")


def remote() -> Check:
    """Look whether DVC's remote answers, and has this version of data/."""
    listed = dvc_pointer.dvc("remote", "list")
    if listed.returncode:
        return Check("dvc remote", FAILED, _last_line(listed.stderr), "dvc doctor")
    names = [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]
    own = ", ".join(name for name in names if name != project.SAMPLE_REMOTE)
    if not own:
        text = "none: the pictures are on this machine alone"
        return Check("dvc remote", WARNING, text, "dvc remote add -d storage s3://...")
    if not dvc_pointer.POINTER.exists():
        return ok("dvc remote", f"{own}; nothing to push yet")
    return _pushed(own)


def _pushed(name: str) -> Check:
    """Ask the remote for the contents of this version of data/."""
    try:
        done = dvc_pointer.dvc("status", "--cloud", "--json", str(dvc_pointer.POINTER), seconds=_SECONDS)
    except subprocess.TimeoutExpired:
        text = f"{name} does not answer in {_SECONDS:.0f} s"
        return Check("dvc remote", FAILED, text, "check the network, and its address (`dvc remote list`)")
    try:
        lacking = json.loads(done.stdout or "{}") if done.returncode == 0 else None
    except ValueError:
        lacking = None
    if lacking is None:
        remedy = "check its address and rights; s3 needs `make install EXTRAS=s3` (or gs, azure, ssh)"
        return Check("dvc remote", FAILED, _last_line(done.stderr or done.stdout), remedy)
    if lacking:
        return Check("dvc remote", WARNING, f"{name} lacks this version of data/", "`dvc push` copies it there")
    return ok("dvc remote", f"{name} has this version of data/")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["DVC failed"])[-1][:300]
