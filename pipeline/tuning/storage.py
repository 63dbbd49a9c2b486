"""Optuna's storage: a database that holds the studies, and that every worker connects to."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.trial import TrialState
from sqlalchemy import text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline.core.errors import UserError
from pipeline.tracking.store_address import without_password

HEARTBEAT_SECONDS = 5
GRACE_SECONDS = 30
STORAGE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)  # raised by a storage that does not answer

_RETRIES = 5  # of one slot, when its workers die
_FORMS = "sqlite:///tune.db, or postgresql+psycopg://user:password@host/database"


def connect(url: str) -> optuna.storages.RDBStorage:
    """Connect to the storage; its tables are created if they do not exist yet.

    Raises:
        UserError: it does not answer, the URL is none of a database, or the database's driver is not installed.

    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    arguments = {"timeout": 60} if url.startswith("sqlite") else {"connect_timeout": 5}
    try:
        return optuna.storages.RDBStorage(
            url,
            engine_kwargs={"connect_args": arguments, "pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES),
        )
    except (ArgumentError, ValueError) as error:
        reason = _first_line(error)
        raise UserError(f"tune.storage {without_password(url)!r} is no database URL ({reason}): {_FORMS}") from None
    except ImportError as error:
        raise UserError(
            f"tune.storage {without_password(url)!r} needs a driver ({_first_line(error)}): "
            "`.venv/bin/uv sync --locked --extra dev --extra postgres` installs PostgreSQL's."
        ) from None
    except (*STORAGE_ERRORS, RuntimeError) as error:
        raise UserError(_no_answer(url, error)) from None


@contextmanager
def explained_errors(url: str) -> Iterator[None]:
    """Raise UserError in place of the errors of a storage that stops answering."""
    try:
        yield
    except STORAGE_ERRORS as error:
        raise UserError(_no_answer(url, error)) from None


def _no_answer(url: str, error: BaseException) -> str:
    reason = _first_line(getattr(error, "orig", None) or error)
    return (
        f"tune.storage {without_password(url)!r} does not answer ({reason}). "
        f"Start it, or name another one ({_FORMS}); what it holds is safe, and the same command goes on from there."
    )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def fail_trials_without_heartbeat(study: optuna.Study) -> None:
    """Fail the running trials whose worker died before its first heartbeat.

    `optuna.storages.fail_stale_trials` looks at heartbeats only, and would wait for such a trial forever.
    """
    storage = study._storage  # noqa: SLF001 -- there is no public way to a trial's heartbeats
    backend: Any = getattr(storage, "_backend", storage)
    with backend.engine.connect() as connection:
        with_heartbeat = set(connection.execute(text("SELECT trial_id FROM trial_heartbeats")).scalars())
    latest = datetime.now() - timedelta(seconds=GRACE_SECONDS)  # noqa: DTZ005 -- Optuna stores local time, too
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        trial_id, started = trial._trial_id, trial.datetime_start  # noqa: SLF001
        if trial_id not in with_heartbeat and started is not None and started < latest:
            with suppress(optuna.exceptions.UpdateFinishedTrialError):  # another machine has failed it already
                storage.set_trial_state_values(trial_id, TrialState.FAIL)
