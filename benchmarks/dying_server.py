"""What a tracking server that dies or hangs during a training costs: wall time compared with a working server.

    python benchmarks/dying_server.py --rounds 3

Run it in a project folder after `dvc repro train`. Each round runs the stage `finetune` three times, each time with its
own MLflow server, which stays, is killed, or is stopped (hangs) after the first epoch. Prints the medians of the
ratios. It is an error if a line of metrics is missing on disk.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from pipeline.core import paths
from pipeline.tracking import jsonl

FATES = {"stays": None, "killed": signal.SIGKILL, "hangs": signal.SIGSTOP}


def serve(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server on loopback; return it and its URL once it answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", *store, "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=folder
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(240):
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/health", timeout=1).close()  # noqa: S310 -- our own server's
            return process, url
        time.sleep(0.5)
    raise SystemExit("mlflow server did not start")


def run(fate: str) -> float:
    """Fine-tune with a server of this fate; return the wall time in seconds."""
    for folder in (paths.FINETUNED, paths.CHECKPOINTS, paths.RUNS):
        shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        server, url = serve(Path(folder))
        environment = os.environ | {"MLFLOW_TRACKING_URI": url}
        begun = time.perf_counter()
        stage = subprocess.Popen([sys.executable, "-m", "pipeline", "finetune"], env=environment)
        while stage.poll() is None:
            if FATES[fate] and any(path.stat().st_size for path in paths.RUNS.glob("*/metrics.jsonl")):
                os.killpg(server.pid, FATES[fate])
                break
            time.sleep(0.05)
        if stage.wait() != 0:
            raise SystemExit(f"the stage failed with a server that {fate}")
        seconds = time.perf_counter() - begun
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    return seconds


def main() -> None:
    """Measure and print the ratios, as JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios: dict[str, list[float]] = {fate: [] for fate in FATES if FATES[fate]}
    for _ in range(options.rounds):
        sound = run("stays")
        epochs = len(jsonl.read_lines(paths.FINETUNED / "metrics.jsonl")[0])
        for fate, values in ratios.items():
            values.append(run(fate) / sound)
            if len(jsonl.read_lines(paths.FINETUNED / "metrics.jsonl")[0]) != epochs:
                raise SystemExit(f"lines of metrics were lost with a server that {fate}")
    print(
        json.dumps({f"wall time, server {fate} / stays": round(statistics.median(r), 3) for fate, r in ratios.items()})
    )


if __name__ == "__main__":
    main()
