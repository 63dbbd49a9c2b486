"""The study in Optuna's storage: created once, and the same for every worker.

Its identity is stored with it, so that trials under other data or params are never compared with its own.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

import optuna

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.params.root import Params
from pipeline.params.tune import Tune
from pipeline.tracking import lineage

INPUTS = (paths.SPLITS, paths.PACKED, paths.EMBEDDINGS)  # what trials read
# Attributes of a trial and of the study; that of the slot is `rungs.SLOT`.
RECORD = "record"
REASON = "reason"
REUSES = "reuses"
RESULTS = "results"
IDENTITY = "identity"
PARENT = "parent"  # the id of the study's run record

Direction = Literal["maximize", "minimize"]
_DIRECTIONS: dict[str, Direction] = {
    "macro_recall": "maximize",
    "unsafe_recall": "maximize",
    "log_loss": "minimize",
    "latency_ms": "minimize",
    "size_mb": "minimize",
}


def objectives(tune: Tune) -> tuple[str, ...]:
    """Return the names of the objectives, one or two."""
    return (tune.objective,) if tune.second is None else (tune.objective, tune.second)


def direction(objective: str) -> Direction:
    """Return in which direction an objective gets better."""
    return _DIRECTIONS[objective]


def identity(params: Params) -> dict[str, str]:
    """Return what makes trials comparable: digests of the data, and all params except those that are searched."""
    settings = params.model_dump(by_alias=True, include={"seed", "labels", "backbone", "augment", "embed"})
    fixed = {
        section: {
            key: value
            for key, value in getattr(params, section).model_dump().items()
            if not _is_searched(f"{section}.{key}", params.tune)
        }
        for section in ("train", "finetune")
    }
    of_trials = {"objective", "min_precision", "second", "sampler", "pruner", "startup_trials"}
    of_trials |= {"subset", "head_epochs", "epochs", "min_steps", "rungs", "space"}
    parts: dict[str, Any] = {path.as_posix(): lineage.digest(path) if path.exists() else "" for path in INPUTS}
    parts |= settings | fixed
    parts |= {f"tune.{name}": value for name, value in params.tune.model_dump(include=of_trials).items()}
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in parts.items()
    }


def _is_searched(key: str, tune: Tune) -> bool:
    return any(name == key or name.startswith(f"{key}.") for name in tune.space)


def create(storage: optuna.storages.BaseStorage, params: Params) -> optuna.Study:
    """Return the study, created if it does not exist yet; call it in one process, before workers start.

    Raises:
        UserError: a study of this name exists, and searched other data or under other params.

    """
    tune = params.tune
    names = objectives(tune)
    study = optuna.create_study(
        storage=storage,
        study_name=tune.study,
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
    """Return the study that another process created.

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
    current = identity(params)
    differing = [name for name in current | dict(known) if current.get(name) != known.get(name)]
    if "tune.space" in differing:  # the keys that it names are left out of these sections, which so differ with it
        differing = [name for name in differing if name not in {"train", "finetune"}]
    if differing:
        raise UserError(
            f"study {params.tune.study!r} was made with other {', '.join(differing)}: its trials cannot be compared "
            f"with new ones. Name a new one (`nsfw tune --study {params.tune.study}-2`), or go back to what it was."
        )


def sampler(tune: Tune, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler for trial `number`.

    All that it depends on is in the storage, so nothing is lost with a worker.
    """
    if tune.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed * 100_003 + number)
    return optuna.samplers.TPESampler(seed=(seed * 100_003 + number) % 2**32, n_startup_trials=tune.startup_trials)


def pruner(tune: Tune) -> optuna.pruners.BasePruner:
    """Return what judges a trial by its epochs so far; a study of two objectives cannot be pruned."""
    if tune.pruner is None or tune.second is not None:
        return optuna.pruners.NopPruner()
    if tune.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=tune.epochs, reduction_factor=2)
    return optuna.pruners.MedianPruner(n_startup_trials=tune.startup_trials)
