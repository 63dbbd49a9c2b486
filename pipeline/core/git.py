"""The one way to ask git: without the programs that a repository's own config may name, and with its reason."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_REASON = 500  # characters


class Answer(NamedTuple):
    """What git printed and "", or None and why it refused."""

    text: str | None
    problem: str


def ask(
    *arguments: str, root: Path = Path(), environment: Mapping[str, str] | None = None, seconds: float | None = 60.0
) -> Answer:
    """Run git in `root`, without touching the index; what its config may start (fsmonitor) is not started."""
    program = shutil.which("git")
    if program is None:
        return Answer(None, "git is not installed")
    command = [program, "-C", str(root), "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments]
    variables = os.environ | (environment or {})
    try:
        done = subprocess.run(command, env=variables, capture_output=True, check=False, timeout=seconds)  # noqa: S603 -- no shell; our own arguments
    except (OSError, subprocess.SubprocessError) as error:
        return Answer(None, f"git: {error}")
    if done.returncode:
        return Answer(None, " ".join(_text(done.stderr).split())[:_REASON] or "git failed")
    return Answer(_text(done.stdout), "")


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
