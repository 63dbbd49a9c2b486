"""A PostgreSQL server of a test's own, where Debian's package is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def postgres(tmp_path):
    """A PostgreSQL server of its own, on loopback; its URL."""
    program_folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not program_folders:
        pytest.skip("no PostgreSQL here (Debian: postgresql)")
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        held.close()
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if as_user:
            shutil.chown(folder, "postgres")

        def control(*arguments: str) -> None:
            subprocess.run([*as_user, *arguments], check=True, capture_output=True, cwd="/")

        data = f"{folder}/data"
        control(str(program_folders[-1] / "initdb"), "-D", data, "-U", "nsfw", "--auth=trust", "--no-sync")
        server = f"-p {port} -k {folder} -h 127.0.0.1 -F"
        control(str(program_folders[-1] / "pg_ctl"), "-D", data, "-w", "-l", f"{folder}/log", "-o", server, "start")
        try:
            yield f"postgresql+psycopg://nsfw:secret@127.0.0.1:{port}/postgres"
        finally:
            control(str(program_folders[-1] / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
