"""Runs git, without the programs that a repository's config may name, and returns its reason where it fails."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_REASON = 500  # characters


class Output(NamedTuple):
    """What git printed and an empty problem; or None and why git failed."""

    text: str | None
    problem: str


def run(
    *arguments: str, root: Path = Path(), environment: Mapping[str, str] | None = None, seconds: float | None = 60.0
) -> Output:
    """Run git in `root` without changing the index or starting its fsmonitor; `seconds` is the time limit."""
    program = shutil.which("git")
    if program is None:
        return Output(None, "git is not installed")
    command = [program, "-C", str(root), "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments]
    variables = os.environ | (environment or {})
    try:
        done = subprocess.run(command, env=variables, capture_output=True, check=False, timeout=seconds)  # noqa: S603 -- no shell; our own arguments
    except (OSError, subprocess.SubprocessError) as error:
        return Output(None, f"git: {error}")
    if done.returncode:
        return Output(None, " ".join(_text(done.stderr).split())[:_REASON] or "git failed")
    return Output(_text(done.stdout), "")


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
