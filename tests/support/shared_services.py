"""The services of compose.yaml, started as processes of this machine by compose.yaml's own commands and settings.

Only addresses are replaced: a container's name by loopback, its port by one that is free here.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.compose_file import interpolated
from tests.support.ports import answers, free_port
from tests.support.postgres_server import PostgresServer

SCRIPTS = Path(sys.executable).parent
FORWARDER = Path(__file__).with_name("tcp_forwarder.py")


class HttpService:
    """A service of compose.yaml that speaks HTTP, in a process group of its own."""

    def __init__(self, folder: Path, command: str, environment: Mapping[str, str], url: str) -> None:
        folder.mkdir()
        self.url, self._folder, self._command, self.environment = url, folder, command, dict(environment)
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = shlex.split(self._command)
        plain = {name: os.environ[name] for name in ("PATH", "LANG", "OPENBLAS_NUM_THREADS") if name in os.environ}
        plain |= {"HOME": str(self._folder), "PATH": f"{SCRIPTS}:{plain['PATH']}"}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words,
                cwd=self._folder,
                env=plain | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 240
        while not answers(self.url):
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.3)

    def log(self) -> str:
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            self._process.wait(timeout=30)


class SharedServices:
    """PostgreSQL, a stand-in for S3, and MLflow's server, as compose.yaml says, with the variables of a `.env`.

    The stand-in has its data in memory; `s3_address`, what clients connect to, can be killed without losing them.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        self.mlflow_port, self.s3_port, self._s3_inner_port = free_port(), free_port(), free_port()
        database_folder = folder / "postgres"
        database_folder.mkdir()
        self._document = interpolated({**variables, "S3_ENDPOINT_URL": f"http://127.0.0.1:{self.s3_port}"})
        image = self._document["services"]["postgres"]["environment"]
        self.postgres = PostgresServer(
            database_folder, user=image["POSTGRES_USER"], password=image["POSTGRES_PASSWORD"]
        )
        self.s3 = self._http("s3", f"http://127.0.0.1:{self._s3_inner_port}/moto-api/")
        forward = f"{sys.executable} {FORWARDER} {self.s3_port} {self._s3_inner_port}"
        self.s3_address = HttpService(folder / "s3_address", forward, {}, f"http://127.0.0.1:{self.s3_port}/moto-api/")
        self.mlflow = self._http("mlflow", f"http://127.0.0.1:{self.mlflow_port}/health")
        (folder / "mlflow" / "basic_auth.ini").write_text(self.on_loopback(self._content("basic_auth")))

    def _content(self, config: str) -> str:
        return str(self._document["configs"][config]["content"])

    def _http(self, name: str, url: str) -> HttpService:
        service = self._document["services"][name]
        environment = {key: self.on_loopback(str(value)) for key, value in service.get("environment", {}).items()}
        return HttpService(self.folder / name, self.on_loopback(service["command"]), environment, url)

    def on_loopback(self, text: str) -> str:
        """Replace the addresses and paths of containers."""
        for theirs, ours in {
            "@postgres:5432/": f"@127.0.0.1:{self.postgres.port}/",
            "--host 0.0.0.0": "--host 127.0.0.1",
            "--port 5000": f"--port {self.mlflow_port}",
            "--port 9000": f"--port {self._s3_inner_port}",
            "127.0.0.1:5000": f"127.0.0.1:{self.mlflow_port}",
            "127.0.0.1:9000": f"127.0.0.1:{self.s3_port}",
            "127.0.0.1:5432": f"127.0.0.1:{self.postgres.port}",
            "-p 5432": f"-p {self.postgres.port}",
            "/home/mlflow/": f"{self.folder}/mlflow/",
        }.items():
            text = text.replace(theirs, ours)
        return text

    def start_postgres(self) -> None:
        """Start the database, the first time with what the image does in an empty volume."""
        service = self._document["services"]["postgres"]
        self.postgres.start(service["command"])
        file = self.folder / "databases.sql"
        if not file.exists():
            file.write_text(self._content("databases"), encoding="utf-8")
            create = self.folder / "create.sql"
            create.write_text(f"CREATE DATABASE {service['environment']['POSTGRES_DB']};", encoding="utf-8")
            self.postgres.run_sql(create, "postgres")
            variables = {key: str(value) for key, value in service["environment"].items()}
            self.postgres.run_sql(file, service["environment"]["POSTGRES_DB"], **variables)

    def healthcheck(self, name: str) -> int:
        """Run a service's healthcheck; its exit code."""
        command = self.on_loopback(self._document["services"][name]["healthcheck"]["test"])
        path = f"{SCRIPTS}:{self.postgres.programs}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "-c", command], env=os.environ | {"PATH": path}, check=False, capture_output=True
        ).returncode

    def stop(self) -> None:
        for service in (self.mlflow, self.s3_address, self.s3, self.postgres):
            service.kill()
