"""`make install` in a project that was moved or copied, and the environment of its commands; nothing is run."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("made", "anew"),
    [
        ("{here}/.venv", False),
        ("{here} and more/.venv", True),
        ("/old/{here}/.venv", True),
        ("/somewhere/else/.venv", True),
    ],
)
def test_an_environment_of_another_folder_is_made_anew(tmp_path, made, anew):
    here = tmp_path / "a project"
    (here / ".venv").mkdir(parents=True)
    for name in ("Makefile", "uv.lock", "pyproject.toml"):
        shutil.copyfile(ROOT / name, here / name)
    command = made.format(here=here)
    (here / ".venv/pyvenv.cfg").write_text(f"home = /usr/bin\ncommand = /usr/bin/python3.11 -m venv {command}\n")
    (here / ".venv/.installed").touch()
    later = time.time() + 10
    os.utime(here / ".venv/.installed", (later, later))
    program = shutil.which("make")
    assert program
    done = subprocess.run([program, "-n", "install"], cwd=here, capture_output=True, text=True, check=True)
    assert ("rm -rf .venv" in done.stdout) == anew
    assert ("-m venv .venv" in done.stdout) == anew


def test_its_commands_may_write_bytecode_where_the_shell_forbids_it(tmp_path):
    """Without bytecode each process compiles TensorFlow: thrice the CPU time of `make run` and `make test`."""
    rule = f'include {ROOT}/Makefile\nshow:\n\t@echo "[$$PYTHONDONTWRITEBYTECODE]"\n'
    (tmp_path / "Makefile").write_text(rule, encoding="utf-8")
    program = shutil.which("make")
    assert program
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [program, "--no-print-directory", "show"]  # `make test` may run this test
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
