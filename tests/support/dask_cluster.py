"""A real Dask scheduler and workers, as processes by address."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import psutil

DASK = Path(sys.executable).parent / "dask"
REPOSITORY = Path(__file__).parents[2]


class DaskCluster:
    """Starts in `folder`, where workers look for the project; logs lie in `logs`. Use it in a with statement."""

    def __init__(self, folder: Path, logs: Path, *, python_path: Path = REPOSITORY, daemon: bool = False) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.folder, self.logs, self.python_path = folder, logs, python_path
        self.settings = {"DASK_DISTRIBUTED__WORKER__DAEMON": str(daemon).lower()}
        self.settings |= {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def __enter__(self) -> Self:
        address = self.logs / "address.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self.start("scheduler", *options, "--scheduler-file", str(address))
        wait_until(address.exists, self.logs)
        self.address = json.loads(address.read_text())["address"]
        return self

    def __exit__(self, *_error: object) -> None:
        for process in reversed(self.processes):
            end_tree(process.pid)
            process.wait(timeout=30)

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start `dask ...`."""
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "DASK_", "COV_"))}
        more = {"PYTHONPATH": str(self.python_path), "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.logs / f"{len(self.processes)}-{command[0]}.txt").open("wb") as log:
            process = subprocess.Popen(
                [DASK, *command],
                cwd=self.folder,
                env=plain | more | self.settings | dict(env or {}),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def add_workers(self, count: int = 2) -> None:
        """Start workers of one thread, which nannies start again when they die; wait until they are there."""
        options = ["--nworkers", str(count), "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
        self.start("worker", self.address, *options, "--local-directory", str(self.logs / "space"))
        log = self.logs / f"{len(self.processes) - 1}-worker.txt"
        wait_until(lambda: log.read_text(errors="replace").count("Registered to:") >= count, self.logs)

    def stop_workers(self) -> None:
        """End all workers and their nannies."""
        for process in self.processes:
            if process is not self.scheduler:
                end_tree(process.pid)


def end_tree(pid: int) -> None:
    """End a process and its children."""
    try:
        process = psutil.Process(pid)
        tree = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for each in tree:
        try:
            each.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(tree, timeout=30)


def wait_until(condition: object, logs: Path, seconds: float = 60) -> None:
    """Wait for condition() to be true; the logs are shown if it never is."""
    end = time.monotonic() + seconds
    while not condition():
        text = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(logs.glob("*.txt")))
        assert time.monotonic() < end, text
        time.sleep(0.1)


class Killer(threading.Thread):
    """Kills a worker the first time that it is seen to work on each of the `parts`."""

    def __init__(self, address: str, parts: Iterable[str]) -> None:
        super().__init__(daemon=True)
        self.address, self.parts, self.ended = address, frozenset(parts), threading.Event()
        self.killed: set[str] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.ended.set()
        self.join(timeout=30)

    def run(self) -> None:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            while not self.ended.wait(0.02):
                for worker, keys in client.processing().items():
                    parts = {part for part in self.parts for key in keys if str(key).startswith(part)} - self.killed
                    if parts and kill_listener(worker):
                        self.killed |= parts


def kill_listener(worker: str) -> bool:
    """Kill the process that listens at a worker's address."""
    port = int(worker.rsplit(":", 1)[1])
    for connection in psutil.net_connections("tcp"):
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
            psutil.Process(connection.pid).kill()
            return True
    return False
