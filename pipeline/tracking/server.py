"""Sessions with the MLflow server or store, and how long to wait for it.

MLflow's own client waits 248 s for a dead server and 120 s for a hanging one. Here each costs seconds: the health of a
server is checked before it is used, and again while it is in use.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pipeline.core.errors import UserError
from pipeline.tracking import store_relocation, ui_pages
from pipeline.tracking.session_lock import session_lock
from pipeline.tracking.store_address import (
    DATABASE_PORTS,
    is_database_server,
    sqlite_file,
    tracking_uri,
    without_password,
)
from pipeline.tracking.unreachable import Unreachable

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
    # A server hands artifacts through: people have no way to the bucket behind it, and MLflow's client would go there
    # by signed addresses whenever that is S3, and retry for minutes.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a model's requirements are the few that it needs, not this project's lock
    "GIT_PYTHON_REFRESH": "quiet",
}
_HEALTH_SECONDS = 2.0
_CHECK_SECONDS = 3.0
_log = logging.getLogger(__name__)


def prepare_environment() -> None:
    """Set short timeouts, quiet logs and no telemetry for MLflow in this process; variables already set stay."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def check(uri: str) -> None:
    """Check that the server answers within 2 s. A local store always does.

    Raises:
        Unreachable: nothing listens, nothing answers, or a gateway reports that its server is down.

    """
    parts = urlsplit(uri)
    try:
        if parts.scheme in {"http", "https"}:
            # /health asks for no password, and urllib takes none from a URL.
            _check_http(f"{without_password(uri).rstrip('/')}/health")
        elif parts.hostname:  # a database server
            port = parts.port or DATABASE_PORTS.get(parts.scheme.split("+")[0])
            if port:
                socket.create_connection((parts.hostname, port), timeout=_HEALTH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise Unreachable(f"MLflow at {without_password(uri)} does not answer ({_reason(error)})") from None


def _check_http(url: str) -> None:
    try:
        urllib.request.urlopen(url, timeout=_HEALTH_SECONDS).close()  # noqa: S310 -- http(s) only, checked by the caller
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:
            raise OSError(
                f"HTTP {error.code}"
            ) from None  # below 500 the server is up, and MLflow's client reports what is wrong
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # MLflow's client has its own settings for certificates
            raise


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason)


@contextmanager
def session() -> Iterator[MlflowClient]:
    """Yield an MlflowClient on the tracking server, after a health check. Only one session runs per machine.

    Raises:
        Unreachable: the server does not answer, or another session has lasted two minutes.

    """
    uri = tracking_uri()
    check(uri)
    prepare_environment()
    import mlflow

    with session_lock(uri):  # includes the client: creating the schema of a sqlite file twice at once fails
        _relocate(uri)
        mlflow.set_tracking_uri(uri)
        yield mlflow.MlflowClient(uri)


def experiment_id(client: MlflowClient) -> str:
    """Return the id of the experiment MLFLOW_EXPERIMENT_NAME, or `nsfw`; create it if it does not exist.

    Raises:
        UserError: the store is a database, and its artifacts would stay on this machine.

    """
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "nsfw"
    experiment = client.get_experiment_by_name(name)
    _check_artifacts(tracking_uri(), None if experiment is None else experiment.artifact_location)
    if experiment is None:
        try:
            return str(client.create_experiment(name, **_experiment_options(tracking_uri())))
        except MlflowException:  # another process was faster
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise MlflowException(
            f"experiment {name!r} is deleted in MLflow; restore it there, or set MLFLOW_EXPERIMENT_NAME"
        )
    return str(experiment.experiment_id)


def _check_artifacts(uri: str, location: str | None) -> None:
    """Raise UserError for a database server whose artifacts would stay in a local folder.

    MLflow's client would silently write models below the working directory of the first user.
    """
    if not is_database_server() or urlsplit(location or "").scheme not in {"", "file"}:
        return
    raise UserError(
        f"MLFLOW_TRACKING_URI is a database ({without_password(uri)}), which holds no artifacts: models would "
        "stay in a folder of this machine. Start a server on it, "
        "`mlflow server --backend-store-uri URI --artifacts-destination s3://...` (or a folder of its own), and set "
        "MLFLOW_TRACKING_URI to its http:// address; or make the experiment first: "
        "`mlflow experiments create -n nsfw -l s3://...`."
    )


def _experiment_options(uri: str) -> dict[str, Any]:
    """Return the artifact location and the tags of a new experiment."""
    # A server decides where its artifacts go. For a sqlite file, MLflow would choose a folder of the working directory.
    database = sqlite_file(uri)
    if database is None:
        return {"tags": ui_pages.EXPERIMENT_TAGS}
    location = (database.parent / store_relocation.ARTIFACTS).as_uri()
    return {
        "artifact_location": location,
        "tags": ui_pages.EXPERIMENT_TAGS | {store_relocation.ROOT_TAG: str(database.parent)},
    }


def _relocate(uri: str) -> None:
    database = sqlite_file(uri)
    if database is None:
        return
    try:
        origin = store_relocation.relocate(database)
    except sqlite3.Error as error:
        raise Unreachable(
            f"{database} was moved or copied, and cannot be told where its artifacts lie ({error})"
        ) from None
    if origin is not None:
        _log.warning("%s was moved or copied here from %s: its artifacts are the ones beside it now", database, origin)


def watch(thread: threading.Thread) -> None:
    """Wait for a thread that talks to the server, as long as the server answers.

    Raises:
        Unreachable: two health checks in a row failed; the thread is abandoned.

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


def run_watched(work: Callable[[], T]) -> T:
    """Return what `work`, which talks to the server, returns; give up when the server stops answering.

    Raises:
        Unreachable: the server stopped answering. Exceptions of `work` pass through.

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
