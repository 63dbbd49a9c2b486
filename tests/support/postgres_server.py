"""A PostgreSQL server of a test's own, where Debian's package is installed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.ports import free_port


class PostgresServer:
    """A cluster in a folder, served on loopback, with a superuser that has a password."""

    def __init__(self, folder: Path, *, user: str, password: str) -> None:
        """Make the cluster, or skip the test where PostgreSQL is not installed."""
        program_folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not program_folders:
            pytest.skip("no PostgreSQL here (Debian: postgresql)")
        self.programs, self.folder, self.port = program_folders[-1], folder, free_port()
        self.user, self._password = user, password
        self._account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        self._process: subprocess.Popen | None = None
        if self._account:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres", "postgres")
        (folder / "password").write_text(password, encoding="utf-8")
        methods = ("--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync")
        self._run("initdb", "-D", str(folder / "data"), "-U", user, f"--pwfile={folder}/password", *methods)

    def _run(self, program: str, *arguments: str, **variables: str) -> None:
        command = [str(self.programs / program), *arguments]
        environment = os.environ | variables
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd="/", env=environment, **self._account
        )
        assert done.returncode == 0, done.stderr

    def start(self, command: str = "postgres") -> None:
        """Start the server by a command of its image, and wait until it answers; after a kill, too."""
        data_and_socket = ("-D", str(self.folder / "data"), "-k", str(self.folder))
        words = [*command.split(), *data_and_socket, "-p", str(self.port), "-h", "127.0.0.1", "-F"]
        assert words[0] == "postgres"
        end = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < end, (self.folder / "log").read_text()
            if self._process is None or self._process.poll() is not None:  # or children of a killed one still end
                with (self.folder / "log").open("ab") as log:
                    self._process = subprocess.Popen(
                        [str(self.programs / "postgres"), *words[1:]], stdout=log, stderr=log, cwd="/", **self._account
                    )
            time.sleep(0.2)

    def _answers(self) -> bool:
        command = [self.programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(command, check=False).returncode == 0

    def run_sql(self, file: Path, database: str, **variables: str) -> None:
        """Run a file by psql, as the image does with those of /docker-entrypoint-initdb.d."""
        connection = ("-h", str(self.folder), "-p", str(self.port), "-U", self.user, "-d", database)
        self._run("psql", "-v", "ON_ERROR_STOP=1", "-q", *connection, "-f", str(file), **variables)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{self.user}:{self._password}@127.0.0.1:{self.port}/{database}"

    def kill(self) -> None:
        """Kill it as a power cut would."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=30)


@pytest.fixture
def postgres():
    """A PostgreSQL server of its own, on loopback; its URL."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = PostgresServer(Path(folder), user="nsfw", password="secret")  # noqa: S106 -- it lives for one test
        server.start()
        try:
            yield server.url()
        finally:
            server.kill()
