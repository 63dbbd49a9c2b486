"""Records to publish, a server to publish them to, and queries of its contents."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from pipeline.tracking import server
from pipeline.tracking.run_record import RunRecord
from pipeline.tracking.unreachable import Unreachable


def begin(**more) -> RunRecord:
    return RunRecord.start(
        "train",
        params={"train": {"epochs": 3, "dropout": (0.5, 0.25)}, "seed": None},
        inputs=[Path("in.csv"), Path("packed")],
        **more,
    )


def finished(epochs: int = 3) -> RunRecord:
    """A finished record with epochs, a sample of the machine, an artifact and a model."""
    record = begin()
    with record:
        for epoch in range(epochs):
            record.log_epoch(epoch, {"val_recall/porn": 0.5 + epoch / 10, "val_loss": 1.0 / (epoch + 1)})
        record.log_summary({"best_epoch": float(epochs - 1)})
        record.log_system(0, {"system/cpu_utilization_percentage": 50.0})
        record.artifact("plots/confusion.csv").write_text("a,b\n", encoding="utf-8")
        record.model_path.write_bytes(b"model" * 100)
    return record


def runs(client) -> list:
    """Every run of every experiment."""
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


def steps(client, run_id: str, name: str) -> list[int]:
    """The steps of a metric, sorted, each as often as it is stored."""
    return sorted(metric.step for metric in client.get_metric_history(run_id, name))


class Server:
    """A real `mlflow server` on its own store, in its own process group."""

    def __init__(self, folder: Path, template: Path) -> None:
        folder.mkdir()
        shutil.copyfile(template, folder / "server.db")
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.store = f"sqlite:///{folder}/server.db"
        self._process: subprocess.Popen | None = None

    def start(self, *options: str, **variables: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
                    *("--workers", "1", "--backend-store-uri", self.store),
                    *("--artifacts-destination", str(self.folder / "artifacts")),
                    *options,
                ],
                env=environment
                | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
                | variables,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 180
        while not self._answers():
            assert time.monotonic() < end, (self.folder / "log.txt").read_text()
            assert self._process.poll() is None, (self.folder / "log.txt").read_text()
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            server.check(self.uri)
        except Unreachable:
            return False
        return True

    def signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait(timeout=30)
