"""The MLflow server or store: which one, whether it answers, and how long to wait for it.

MLflow's own client waits 248 s for a dead server and 120 s for a hanging one. Here each costs seconds: a server is
asked for its health before it is used, and again while it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import socket
import sqlite3
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.tracking import main_project, store_relocation, ui_pages

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a model's requirements are the few that it needs, not this project's lock
    "GIT_PYTHON_REFRESH": "quiet",
}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # of database servers
_HEALTH_SECONDS = 2.0
_CHECK_SECONDS = 3.0
_LOCK_SECONDS = 120.0
_SQLITE = "sqlite:///"
_log = logging.getLogger(__name__)


class Unreachable(Exception):  # noqa: N818 -- an expected state of the world: the record stays, `nsfw sync` follows
    """The MLflow server does not answer; the message says which and why."""


def prepare_environment() -> None:
    """Set MLflow's patience, its silence and no telemetry for this process. What the user has set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or else a sqlite file in the project's root.

    A sqlite file is named by its full path: a temporary experiment of DVC's works elsewhere, on the same file.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    database = _database(uri)
    return uri if database is None else f"{_SQLITE}{database}"


def _database(uri: str) -> Path | None:
    """Return the sqlite file that `uri` names, None where it names none."""
    name = uri.removeprefix(_SQLITE) if uri.startswith(_SQLITE) else ""
    return (main_project.root() / name).resolve() if name and not name.startswith(":") and "?" not in name else None


def shown(uri: str) -> str:
    """Return `uri` without a user's name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def label() -> str:
    """Return the store in use, to be shown and compared: no password; a file below the project by its relative path."""
    uri = shown(tracking_uri())
    return uri.replace(f"sqlite:///{main_project.root().resolve()}/", "sqlite:///")


def check(uri: str) -> None:
    """Ask the server for its health, for 2 s at most. A local store always answers.

    Raises:
        Unreachable: nothing listens, nothing answers, or a gateway says that nothing is behind it.

    """
    parts = urlsplit(uri)
    try:
        if parts.scheme in {"http", "https"}:
            # /health asks for no password, and urllib takes none from a URL.
            _check_http(f"{shown(uri).rstrip('/')}/health")
        elif parts.hostname:  # a database server
            port = parts.port or _PORTS.get(parts.scheme.split("+")[0])
            if port:
                socket.create_connection((parts.hostname, port), timeout=_HEALTH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise Unreachable(f"MLflow at {shown(uri)} does not answer ({_reason(error)})") from None


def _check_http(url: str) -> None:
    try:
        urllib.request.urlopen(url, timeout=_HEALTH_SECONDS).close()  # noqa: S310 -- http(s) only, checked by the caller
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:
            raise OSError(f"HTTP {error.code}") from None  # below that something answers; MLflow's client tells what
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the client has its own settings for certificates
            raise


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason)


@contextmanager
def session() -> Iterator[MlflowClient]:
    """Yield an MlflowClient on the tracking server, which has just answered; this machine's sessions take turns.

    Raises:
        Unreachable: the server does not answer, or another session has lasted two minutes.

    """
    uri = tracking_uri()
    check(uri)
    prepare_environment()
    import mlflow

    with _turn(uri):  # from the client on: two that make a sqlite file's schema at once fail
        _follow(uri)
        mlflow.set_tracking_uri(uri)
        yield mlflow.MlflowClient(uri)


def experiment_id(client: MlflowClient) -> str:
    """Return the id of the experiment MLFLOW_EXPERIMENT_NAME, or `nsfw`; made if it is not there.

    Raises:
        UserError: the store is a database, and its artifacts would stay on this machine.

    """
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "nsfw"
    found = client.get_experiment_by_name(name)
    _check_artifacts(tracking_uri(), None if found is None else found.artifact_location)
    if found is None:
        try:
            return str(client.create_experiment(name, **_beside(tracking_uri())))
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise MlflowException(
            f"experiment {name!r} is deleted in MLflow; restore it there, or set MLFLOW_EXPERIMENT_NAME"
        )
    return str(found.experiment_id)


def is_database_server() -> bool:
    """Whether the tracking URI names a database server, not MLflow's own."""
    return urlsplit(tracking_uri()).scheme.split("+")[0] in _PORTS


def _check_artifacts(uri: str, location: str | None) -> None:
    """Refuse a database server without an artifact store that others reach.

    MLflow's client would write models below whatever folder the first user works in, and tell nobody.
    """
    if not is_database_server() or urlsplit(location or "").scheme not in {"", "file"}:
        return
    raise UserError(
        f"MLFLOW_TRACKING_URI is a database ({shown(uri)}), which holds no artifacts: models would stay in a folder of "
        "this machine. Start a server on it, `mlflow server --backend-store-uri URI --artifacts-destination s3://...` "
        "(or a folder of its own), and set MLFLOW_TRACKING_URI to its http:// address; or make the experiment first: "
        "`mlflow experiments create -n nsfw -l s3://...`."
    )


def _beside(uri: str) -> dict[str, Any]:
    """Return where a new experiment's artifacts go, and its tags."""
    # A server knows where its artifacts go; beside a sqlite file MLflow would take a folder of the working directory's.
    database = _database(uri)
    if database is None:
        return {"tags": ui_pages.EXPERIMENT_TAGS}
    location = (database.parent / store_relocation.ARTIFACTS).as_uri()
    return {
        "artifact_location": location,
        "tags": ui_pages.EXPERIMENT_TAGS | {store_relocation.ROOT_TAG: str(database.parent)},
    }


def _follow(uri: str) -> None:
    database = _database(uri)
    if database is None:
        return
    try:
        origin = store_relocation.follow(database)
    except sqlite3.Error as error:
        raise Unreachable(
            f"{database} was moved or copied, and cannot be told where its artifacts lie ({error})"
        ) from None
    if origin is not None:
        _log.warning("%s was moved or copied here from %s: its artifacts are the ones beside it now", database, origin)


@contextmanager
def _turn(uri: str) -> Iterator[None]:
    name = hashlib.sha256(uri.encode()).hexdigest()[:12]
    path = main_project.lasting(paths.CACHE) / f"mlflow-{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        end = time.monotonic() + _LOCK_SECONDS
        while not _locked(handle.fileno()):
            if time.monotonic() > end:
                raise Unreachable(f"another publication to MLflow has held {path} for {_LOCK_SECONDS:g} s")
            time.sleep(0.05)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def watch(thread: threading.Thread) -> None:
    """Wait for a thread that talks to the server, as long as the server answers.

    Raises:
        Unreachable: it did not, twice in a row; the thread is left behind.

    """
    uri, failures = tracking_uri(), 0
    while True:
        thread.join(timeout=_CHECK_SECONDS)
        if not thread.is_alive():
            return
        try:
            check(uri)
            failures = 0
        except Unreachable:
            failures += 1
            if failures == 2:
                raise


def patiently(work: Callable[[], T]) -> T:
    """Do `work`, which talks to the server, in a thread, and give up when the server stops answering.

    Raises:
        Unreachable: it did; whatever `work` raises otherwise.

    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 -- raised again below, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="mlflow", daemon=True)
    thread.start()
    watch(thread)
    if errors:
        raise errors[0]
    return results[0]
