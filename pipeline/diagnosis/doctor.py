"""All checks of `nsfw doctor`, in the order in which a set-up is built."""

from pathlib import Path

import pandas as pd

from pipeline.core import executor, paths
from pipeline.core.errors import UserError
from pipeline.data import batch_names, dvc_pointer, sightings
from pipeline.diagnosis import machine, project_state, services
from pipeline.diagnosis.check import FAILED, Check, attempt, ok
from pipeline.params.root import Params, load_params


def examine() -> list[Check]:
    """Return every check; those that need params.yaml are left out if it is broken."""
    checks = [
        attempt("packages", machine.packages, "make install"),
        attempt("project folder", lambda: machine.writable(Path()), "change its rights or its owner"),
        attempt("git", project_state.repository, "git status"),
    ]
    try:
        params = load_params()
    except UserError as error:
        remedy = "correct it; `git diff params.yaml` shows what changed"
        return [*checks, Check("params.yaml", FAILED, str(error), remedy)]
    checks.append(ok("params.yaml", "sound"))
    executor.use(params.compute.scheduler)
    checks.append(attempt("data", project_state.data, "`dvc pull data.dvc`, or docs/ingest.md"))
    return [
        *checks,
        attempt("disk", lambda: _disk(params), "df -h"),
        attempt("memory", lambda: machine.memory(params), "free -h"),
        attempt("gpu", machine.gpu, "make install EXTRAS=gpu"),
        attempt("dvc remote", project_state.remote, "dvc remote list"),
        services.mlflow(),
        *services.mlflow_server(),
        attempt("search storage", lambda: services.search_storage(params), "tune.storage of params.yaml"),
        *services.dask(),
    ]


def _disk(params: Params) -> Check:
    seen: pd.DataFrame = sightings.load(paths.SIGHTINGS)
    stored = seen[seen["status"] == "stored"]
    here = sum(path.stat().st_size for path in batch_names.shard_files(paths.SHARDS))
    return machine.disk(params, stored["sha256"].nunique(), here or int(dvc_pointer.read_out().get("size", 0)))
