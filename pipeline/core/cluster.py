"""Maps a function over items on a Dask cluster, whose workers share the project's folder.

    for result in map_items("tcp://10.0.0.1:8786", function, items): ...

Workers run in the project's folder on a shared file system, with its environment: paths in items are relative to it.
What differs between them and this process is refused before the first item. docs/cluster.md has the commands.
"""

import hashlib
import logging
import multiprocessing
import platform
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from pipeline.core import files, paths
from pipeline.core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

_PACKAGES = ("dask", "distributed", "keras", "numpy", "opencv-python-headless", "pandas", "pillow", "tensorflow")
_CONNECT_SECONDS = 10.0
_WITHOUT_WORKERS_SECONDS = 60.0  # nannies start a dead worker again within seconds
_POLL_SECONDS = 5.0
_IN_FLIGHT = 2  # items for each thread of the cluster

_log = logging.getLogger(__name__)
_announced: set[str] = set()


def map_items(address: str, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield function(item) in the order of the items, a few of them at a time on the cluster.

    An item whose worker dies goes to another one. One that has killed as many as the scheduler allows runs in this
    process, where pictures are opened in a sandbox: the one that is to blame fails alone.

    Raises:
        UserError: Dask is not installed, nobody answers, workers differ from this process or are gone.

    """
    with _connected(address) as client:
        waiting: deque[tuple[Item, Any]] = deque()
        most = _IN_FLIGHT * max(1, sum(client.nthreads().values()))
        for item in items:
            waiting.append((item, client.submit(function, item, key=f"{_name(function)}-{uuid4()}")))
            if len(waiting) > most:
                yield _result(client, address, function, *waiting.popleft())
        while waiting:
            yield _result(client, address, function, *waiting.popleft())


def check(address: str) -> int:
    """Return how many workers answer at `address`, all of them equal to this process.

    Raises:
        UserError: as `map_items`.

    """
    with _connected(address) as client:
        return len(client.nthreads())


def identity() -> dict[str, str]:
    """Return what must be equal in this process and on every worker, so that results are."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "code": _code_digest(),
        "params.yaml": files.sha256_of(paths.PARAMS)[:12] if paths.PARAMS.is_file() else "none",
    }


@cache
def _code_digest() -> str:
    """Return the digest of the package as it was when this process first looked, before it imported more of it.

    A worker that was started before an edit still computes by the old code, whatever lies in the shared folder now.
    """
    package = Path(__file__).resolve().parents[1]
    code = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        code.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return code.hexdigest()[:12]


def can_start_processes() -> bool:
    """Whether this process may have children, as opening pictures needs."""
    return not multiprocessing.current_process().daemon


def _name(function: Any) -> str:
    """Return the name under which the dashboard shows a function."""
    while isinstance(function, partial):
        function = function.func
    return str(function.__name__)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        import distributed
    except ImportError:
        raise UserError(f"a cluster is named ({address}), but {_INSTALL}") from None
    untyped: Any = distributed
    try:
        client: Any = untyped.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(_NOBODY.format(address=address, error=_first_line(error))) from None
    try:
        _check(client, address)
        yield client
    finally:
        client.close(timeout=2)


def _check(client: Any, address: str) -> None:
    """Wait for workers; refuse the cluster if one of them is no equal of this process; say once where it is seen."""
    try:
        client.wait_for_workers(1, timeout=_WITHOUT_WORKERS_SECONDS)
    except TimeoutError:
        raise UserError(_NO_WORKERS.format(address=address, seconds=_WITHOUT_WORKERS_SECONDS)) from None
    try:
        seen: Mapping[str, dict[str, str]] = client.run(identity)
        free: Mapping[str, bool] = client.run(can_start_processes)
    except Exception as error:  # noqa: BLE001 -- a worker without the project cannot even read the function
        raise UserError(_STRANGER.format(address=address, error=_first_line(error))) from None
    own = identity()
    for worker, theirs in sorted(seen.items()):
        differing = [f"{name} {theirs.get(name)} instead of {value}" for name, value in own.items()
                     if theirs.get(name) != value]  # fmt: skip
        if differing:
            raise UserError(_DIFFERS.format(worker=worker, differing=", ".join(differing)))
        if not free[worker]:
            raise UserError(_DAEMON.format(worker=worker))
    if address not in _announced:
        _announced.add(address)
        _log.info("%d workers at %s, seen at %s", len(seen), address, client.dashboard_link)


def _result(client: Any, address: str, function: Callable[[Item], Result], item: Item, future: Any) -> Result:
    from distributed import KilledWorker

    alone_since: float | None = None
    while True:
        try:
            result: Result = future.result(timeout=_POLL_SECONDS)
        except KilledWorker as error:
            _log.warning("%s: it goes on in this process", _first_line(error))
            return function(item)
        except CancelledError:
            raise UserError(_LOST.format(address=address)) from None
        except TimeoutError:
            if future.done():  # the item's own
                raise
            alone_since = None if _has_workers(client) else alone_since or time.monotonic()
            if alone_since is not None and time.monotonic() - alone_since > _WITHOUT_WORKERS_SECONDS:
                raise UserError(_NO_WORKERS.format(address=address, seconds=_WITHOUT_WORKERS_SECONDS)) from None
        else:
            return result


def _has_workers(client: Any) -> bool:
    return bool(client.nthreads())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


_INSTALL = "Dask is not installed: `make install EXTRAS=cluster`."
_OFF = "or unset compute.scheduler and DASK_SCHEDULER_ADDRESS to use this machine alone."
_NOBODY = "no Dask scheduler answers at {address} ({error}). Start it (docs/cluster.md), " + _OFF
_NO_WORKERS = "the scheduler at {address} has had no worker for {seconds:g} s. Start some (docs/cluster.md), " + _OFF
_STRANGER = "a worker of {address} does not run this project ({error}). Start it in the project's folder, " + _OFF
_DIFFERS = (
    "the worker {worker} differs from this process: {differing}. Its results could differ, too: start it again in the "
    "project's folder, with its environment (docs/cluster.md)."
)
_DAEMON = (
    "the worker {worker} may not start processes, which opening pictures needs. Start it again with "
    "DASK_DISTRIBUTED__WORKER__DAEMON=false (docs/cluster.md)."
)
_LOST = (
    "the scheduler at {address} is gone. Run the same command again once it is back: finished shards are cached, "
    + _OFF
)
