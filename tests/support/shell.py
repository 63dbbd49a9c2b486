"""A shell in a project: types lines as a person does, with the project's own `nsfw`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import answers
from tests.support.system_helpers import Project, plain_environment


class Shell:
    """Types lines in a project, as a person does in its activated environment."""

    def __init__(self, project: Project, home: Path) -> None:
        self.project = project
        home.mkdir()
        program = home / "bin" / "nsfw"
        program.parent.mkdir()
        # The installed command would import this repository's package, not the project's.
        code = "import sys; sys.path.insert(0, ''); from pipeline.cli.console import main; main()"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        plain = plain_environment()
        identity = {
            f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        path = f"{program.parent}:{Path(sys.executable).parent}:{plain['PATH']}"
        self.environment = (
            plain | identity | {"PATH": path, "HOME": str(home), "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}
        )

    def type(self, line: str, *, seconds: float = 900) -> str:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.project.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"$ {line}\n{output[-6000:]}"
        assert "Traceback" not in output, f"$ {line}\n{output[-6000:]}"
        return output

    @contextmanager
    def left_running(self, line: str, url: str) -> Iterator[None]:
        """Type a line that does not end, until `url` answers, and end it afterwards."""
        log = Path(self.environment["HOME"]) / "log.txt"
        with log.open("wb") as opened:
            process = subprocess.Popen(
                ["bash", "-c", f"exec env {line}"],
                cwd=self.project.root,
                env=self.environment,
                stdout=opened,
                stderr=opened,
                start_new_session=True,
            )
        try:
            end = time.monotonic() + 300
            while not answers(url):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.5)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
