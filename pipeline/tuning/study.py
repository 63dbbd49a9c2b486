"""The study in Optuna's storage: made once, the same for every worker, exact about how many trials it holds.

A study of N trials has N slots. A slot is a trial in the queue, running, or finished (completed or pruned); one whose
trial failed, with its worker perhaps, is filled again with the same values. So N finished trials come out, however
many workers take part and whatever becomes of them.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline.core.errors import UserError
from pipeline.params.root import Params
from pipeline.params.tune import Tune
from pipeline.tracking import lineage
from pipeline.tracking.server import shown
from pipeline.tuning import space, trial

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_OPEN = (*FINISHED, TrialState.WAITING, TrialState.RUNNING)

HEARTBEAT_SECONDS = 5
GRACE_SECONDS = 30
_RETRIES = 5  # of one slot, when its workers die

# Attributes of a trial and of the study.
SLOT = "slot"
RECORD = "record"
REASON = "reason"
REUSES = "reuses"
RESULTS = "results"
IDENTITY = "identity"
PARENT = "parent"  # its run's record

Direction = Literal["maximize", "minimize"]
_DIRECTIONS: dict[str, Direction] = {
    "macro_recall": "maximize",
    "unsafe_recall": "maximize",
    "log_loss": "minimize",
    "latency_ms": "minimize",
    "size_mb": "minimize",
}


def objectives(todo: Tune) -> tuple[str, ...]:
    """Return the names of the objectives, one or two."""
    return (todo.objective,) if todo.second is None else (todo.objective, todo.second)


def direction(objective: str) -> Direction:
    """Return which way an objective gets better."""
    return _DIRECTIONS[objective]


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Connect to the storage; the tables are made where there are none.

    Raises:
        UserError: it does not answer, or is no such thing.

    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    connect = {"timeout": 60} if url.startswith("sqlite") else {"connect_timeout": 5}
    try:
        return optuna.storages.RDBStorage(
            url,
            engine_kwargs={"connect_args": connect, "pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES),
        )
    except (ArgumentError, ValueError) as error:
        raise UserError(f"tune.storage {shown(url)!r} is no database URL ({_first_line(error)}): {_FORMS}") from None
    except ImportError as error:
        raise UserError(
            f"tune.storage {shown(url)!r} needs a driver ({_first_line(error)}): "
            "`.venv/bin/uv sync --locked --extra dev --extra postgres` installs PostgreSQL's."
        ) from None
    except (*SILENT, RuntimeError) as error:
        raise UserError(_no_answer(url, error)) from None


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Turn what a storage raises that stops to answer into a message.

    Raises:
        UserError: instead of the storage's own errors.

    """
    try:
        yield
    except SILENT as error:
        raise UserError(_no_answer(url, error)) from None


def _no_answer(url: str, error: BaseException) -> str:
    return (
        f"tune.storage {shown(url)!r} does not answer ({_first_line(getattr(error, 'orig', None) or error)}). "
        f"Start it, or name another one ({_FORMS}); what it holds is safe, and the same command goes on from there."
    )


SILENT = (SQLAlchemyError, optuna.exceptions.StorageInternalError)  # what a storage raises that does not answer
_FORMS = "sqlite:///tune.db, or postgresql+psycopg://user:password@host/database"


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def identity(params: Params) -> dict[str, str]:
    """Return what makes trials comparable: digests of the data, and all params but those that are searched."""
    searched = params.tune.space
    settings = params.model_dump(by_alias=True, include={"seed", "labels", "backbone", "augment", "embed"})
    fixed = {
        section: {
            key: value
            for key, value in getattr(params, section).model_dump().items()
            if not any(name == f"{section}.{key}" or name.startswith(f"{section}.{key}.") for name in searched)
        }
        for section in ("train", "finetune")
    }
    of_trials = {"objective", "min_precision", "second", "sampler", "pruner", "startup_trials"}
    of_trials |= {"subset", "head_epochs", "epochs", "min_steps", "space"}
    parts: dict[str, Any] = {path.as_posix(): lineage.digest(path) if path.exists() else "" for path in trial.INPUTS}
    parts |= settings | fixed
    parts |= {f"tune.{name}": value for name, value in params.tune.model_dump(include=of_trials).items()}
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in parts.items()
    }


def create(storage: optuna.storages.BaseStorage, params: Params) -> optuna.Study:
    """Return the study, made if it is not there; call it in one process, before workers start.

    Raises:
        UserError: a study of this name searched other data, or under other params.

    """
    todo = params.tune
    names = objectives(todo)
    study = optuna.create_study(
        storage=storage,
        study_name=todo.study,
        directions=[direction(name) for name in names],
        load_if_exists=True,
    )
    known = study.user_attrs.get(IDENTITY)
    if known is None:
        study.set_user_attr(IDENTITY, identity(params))
        study.set_metric_names(list(names))
        return study
    check_identity(known, params)
    return study


def join(storage: optuna.storages.BaseStorage, params: Params) -> optuna.Study:
    """Return the study that another process made.

    Raises:
        UserError: there is none, or it searches other data or under other params.

    """
    try:
        study = optuna.load_study(storage=storage, study_name=params.tune.study)
    except KeyError:
        raise UserError(
            f"the storage holds no study {params.tune.study!r}. Start it by `nsfw tune` on one machine, then join."
        ) from None
    check_identity(study.user_attrs.get(IDENTITY, {}), params)
    return study


def check_identity(known: Mapping[str, str], params: Params) -> None:
    """Raise UserError where a study's trials would not be comparable to those under `params`."""
    now = identity(params)
    differing = [name for name in now | dict(known) if now.get(name) != known.get(name)]
    if "tune.space" in differing:  # what it names is left out of the sections: they differ with it
        differing = [name for name in differing if name not in {"train", "finetune"}]
    if differing:
        raise UserError(
            f"study {params.tune.study!r} was made with other {', '.join(differing)}: its trials cannot be compared "
            f"with new ones. Name a new one (`nsfw tune --study {params.tune.study}-2`), or go back to what it was."
        )


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed and pruned trials."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def slots(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return the trial that holds each slot, the first where two do."""
    held: dict[int, FrozenTrial] = {}
    for one in sorted(trials, key=lambda one: one.number):
        if one.state in _OPEN and SLOT in one.user_attrs:
            held.setdefault(one.user_attrs[SLOT], one)
    return held


def fill(study: optuna.Study, params: Params, total: int) -> None:
    """Queue a trial for each of `total` slots that has none: the first ones with known values, the rest to be drawn.

    Call it by one process of a machine at a time. Two machines may fill one slot twice: see `surplus`.
    """
    trials = study.get_trials(deepcopy=False)
    held = slots(trials)
    known = space.first_trials(params.tune.space, params)
    for slot in range(total):
        if slot in held:
            continue
        lost = [one for one in trials if one.user_attrs.get(SLOT) == slot]
        drawn = max(lost, key=lambda one: one.number).params if lost else {}
        study.enqueue_trial(known[slot] if slot < len(known) else drawn, user_attrs={SLOT: slot})


def fail_unheard(study: optuna.Study) -> None:
    """Fail the running trials whose worker died before its first heartbeat, for which Optuna would wait for ever.

    `optuna.storages.fail_stale_trials` goes by heartbeats alone.
    """
    storage = study._storage  # noqa: SLF001 -- there is no public way to a trial's heartbeats
    backend: Any = getattr(storage, "_backend", storage)
    with backend.engine.connect() as connection:
        heard = set(connection.execute(text("SELECT trial_id FROM trial_heartbeats")).scalars())
    latest = datetime.now() - timedelta(seconds=GRACE_SECONDS)  # noqa: DTZ005 -- as Optuna notes the start
    for one in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        started = one.datetime_start
        if one._trial_id not in heard and started is not None and started < latest:  # noqa: SLF001
            with suppress(optuna.exceptions.UpdateFinishedTrialError):  # another machine was faster
                storage.set_trial_state_values(one._trial_id, TrialState.FAIL)  # noqa: SLF001


def surplus(study: optuna.Study, number: int) -> bool:
    """Whether the running trial holds no slot: the queue was empty, or its slot was filled twice."""
    trials = study.get_trials(deepcopy=False)
    return all(one.number != number for one in slots(trials).values())


def sampler(todo: Tune, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler for trial `number`: all that it knows is in the storage, so nothing is lost with a worker."""
    if todo.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed * 100_003 + number)
    return optuna.samplers.TPESampler(seed=(seed * 100_003 + number) % 2**32, n_startup_trials=todo.startup_trials)


def pruner(todo: Tune) -> optuna.pruners.BasePruner:
    """Return what judges a trial by its epochs so far; two objectives cannot be pruned."""
    if todo.pruner is None or todo.second is not None:
        return optuna.pruners.NopPruner()
    if todo.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=todo.epochs, reduction_factor=2)
    return optuna.pruners.MedianPruner(n_startup_trials=todo.startup_trials)


@dataclass(frozen=True)
class Standing:
    """How far a study is: `finished` of `total`, so many of them `pruned`, so many `running`; the best trial."""

    total: int
    finished: int
    pruned: int
    running: int
    best: FrozenTrial | None


def standing(study: optuna.Study, total: int) -> Standing:
    """Look at the study."""
    held = [one for slot, one in slots(study.get_trials(deepcopy=False)).items() if slot < total]
    states = [one.state for one in held]
    return Standing(
        total,
        sum(state in FINISHED for state in states),
        states.count(TrialState.PRUNED),
        states.count(TrialState.RUNNING),
        winner(study),
    )


def winner(study: optuna.Study) -> FrozenTrial | None:
    """Return the best completed trial, by the first objective where there are two; None without any."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = 1 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else -1
    return max(done, key=lambda one: (sign * one.values[0], -one.number), default=None)
