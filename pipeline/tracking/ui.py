"""`nsfw ui`: MLflow's own server on the project's store, and a browser on the page that shows the runs."""

import os
import subprocess
import sys
import time
import urllib.request
import webbrowser
from contextlib import suppress

from pipeline.params.root import load_params
from pipeline.tracking import main_project, server, store_address, store_relocation, ui_pages

_START_SECONDS = 120.0


def serve(port: int) -> None:
    """Print the address of the runs table. For a local store, become MLflow's server, which ends with Ctrl-C."""
    uri = store_address.tracking_uri()
    if uri.startswith(("http://", "https://")):
        print(f"MLFLOW_TRACKING_URI is set: open {address(store_address.without_password(uri))}")
        return
    base = f"http://127.0.0.1:{port}"
    page = address(base)
    print(f"MLflow's UI on {store_address.without_password(uri)}: {page}   (Ctrl-C ends it)", flush=True)
    if _has_screen():
        _open_later(page, base)
    # This would start seven more processes of 270 MB each, for evaluations of language models.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    command = ["mlflow", "server", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    artifacts = str(main_project.root() / store_relocation.ARTIFACTS)
    os.execv(sys.executable, [sys.executable, "-m", *command, "--artifacts-destination", artifacts])  # noqa: S606 -- no shell; Ctrl-C and SIGTERM reach the server itself


def address(base: str) -> str:
    """Return the address of the runs table, after setting its columns and descriptions; the home page if that fails."""
    model = load_params().register_.model
    try:
        return server.run_watched(lambda: _prepared(base, model))
    except Exception:  # noqa: BLE001 -- MLflow's client raises whatever it likes, and its pages say what is wrong
        return f"{base.rstrip('/')}/#/experiments?workflowType=machine_learning"


def _prepared(base: str, model: str) -> str:
    with server.session() as client:
        experiment = server.experiment_id(client)
        ui_pages.complete(client, experiment, model)
    return ui_pages.runs(base, experiment)


def _has_screen() -> bool:
    shown = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return shown and sys.stdout.isatty()


def _open_later(page: str, base: str) -> None:
    """Open the page once the server answers. A child process waits for it, because this process becomes the server."""
    with suppress(OSError):
        quiet = subprocess.DEVNULL
        subprocess.Popen(  # noqa: S603 -- no shell; our own arguments
            [sys.executable, "-m", "pipeline.tracking.ui", page, base], stdin=quiet, stdout=quiet, stderr=quiet
        )


def open_when_up(page: str, base: str, seconds: float = _START_SECONDS) -> bool:
    """Wait until the server at `base` answers, and open `page` in a browser; return whether there was a browser."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            urllib.request.urlopen(f"{base}/health", timeout=2).close()  # noqa: S310 -- our own server
            return webbrowser.open(page)
        time.sleep(0.5)
    return False


if __name__ == "__main__":
    open_when_up(sys.argv[1], sys.argv[2])
