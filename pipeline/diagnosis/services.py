"""Checks of MLflow and of the search's storage: they answer, are of a version that fits, and can be written to."""

import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata

from pipeline.core import cluster, executor
from pipeline.core.errors import UserError
from pipeline.diagnosis.check import FAILED, WARNING, Check, ok
from pipeline.params.root import Params
from pipeline.tracking import server, store_address
from pipeline.tracking.publish import describe
from pipeline.tracking.unreachable import Unreachable

_TAG = "nsfw.doctor"  # of the experiment: when it was last written to
_SECONDS = 5.0
_SKEW_SECONDS = 60.0
_NAME = "mlflow"


def mlflow() -> Check:
    """Look whether MLflow's store answers and can be written to, by a tag of the experiment."""
    name = store_address.store_name()

    def write() -> None:
        with server.session() as client:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            client.set_experiment_tag(server.experiment_id(client), _TAG, now)

    try:
        server.run_watched(write)
    except UserError as error:
        return Check(_NAME, FAILED, str(error), "docs/tracking.md")
    except Unreachable as error:
        remedy = "start it, or set MLFLOW_TRACKING_URI; until then runs wait on disk for `nsfw sync`"
        return Check(_NAME, FAILED, str(error), remedy)
    except Exception as error:  # noqa: BLE001 -- MLflow's client raises its own, requests', SQLAlchemy's and OSErrors
        return Check(_NAME, FAILED, describe(error), "docs/tracking.md")
    return ok(_NAME, f"{name} answers and can be written to")


def mlflow_server() -> list[Check]:
    """Compare the version and the clock of a server over HTTP with this machine's; [] for another kind of store."""
    uri = store_address.tracking_uri()
    if not uri.startswith(("http://", "https://")):
        return []
    base = store_address.without_password(uri).rstrip("/")
    try:
        with urllib.request.urlopen(f"{base}/version", timeout=_SECONDS) as response:  # noqa: S310 -- http(s), see above
            theirs, date = response.read(100).decode("utf-8", "replace").strip(), response.headers.get("Date", "")
    except (OSError, ValueError):
        return []  # `mlflow` says that it does not answer
    return [_version(theirs), *_clock(date)]


def _version(theirs: str) -> Check:
    ours = metadata.version("mlflow")
    if theirs.split(".")[:2] == ours.split(".")[:2]:
        return ok("mlflow version", f"{theirs} there, {ours} here")
    remedy = "use one version for both: pipeline and server are tested together"
    return Check("mlflow version", WARNING, f"{theirs[:40]} there, {ours} here", remedy)


def _clock(date: str) -> list[Check]:
    try:
        skew = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):
        return []
    if skew <= _SKEW_SECONDS:
        return [ok("clock", f"{skew:.0f} s from the server's")]
    return [Check("clock", WARNING, f"{skew:.0f} s from the server's", "synchronize both by NTP")]


def search_storage(params: Params) -> Check:
    """Look whether the storage of `nsfw tune` answers."""
    import optuna

    from pipeline.tuning import storage

    url = params.tune.storage
    shown = store_address.without_password(url)
    if (database := store_address.sqlite_file(url)) is not None:
        if database.parent.is_dir():
            return ok("search storage", shown)
        return Check("search storage", FAILED, f"{database.parent} is no folder", "tune.storage of params.yaml")
    try:
        with storage.explained_errors(url):
            optuna.get_all_study_names(storage.connect(url))
    except UserError as error:
        remedy = "tune.storage of params.yaml; PostgreSQL's driver: `make install EXTRAS=postgres`"
        return Check("search storage", FAILED, str(error), remedy)
    return ok("search storage", f"{shown} answers")


def dask() -> list[Check]:
    """Look whether the cluster answers, and whether its workers are equal to this process; [] where none is named."""
    address = executor.scheduler()
    if address is None:
        return []
    try:
        workers = cluster.check(address)
    except UserError as error:
        return [Check("dask", FAILED, str(error), "docs/cluster.md")]
    return [ok("dask", f"{workers} workers at {address}")]
