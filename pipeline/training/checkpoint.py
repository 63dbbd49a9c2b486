"""Checkpoints of a training. If writing one fails or is interrupted, a complete earlier one remains.

    <root>/<kind>-<digest>/
        run.json        what the training depends on, and its run record
        next.npz        just written, not yet verified
        current.npz     the newest verified one
        previous.npz    the one before

The folder's name holds a digest of what the weights depend on (params, data, code): where it differs, a training starts
from the beginning.
"""

import hashlib
import json
import logging
import shutil
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import files
from pipeline.core.errors import UserError

_CANDIDATES = ("next.npz", "current.npz", "previous.npz")  # the newest first
_RUN_FILE = "run.json"
_STATE = "state"
_OTHERS_RETAINED = 1  # an interrupted training of other params may still be wanted: the newest such one

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """A training between two steps.

    epoch, pictures: the position of the next batch: `pictures` of epoch number `epoch` (from 0) have been seen.
    parts: the number of micro-batches in a batch.
    values: every variable: weights, optimizer, seeds of dropout, running metrics.
    best: the best epoch's metrics, empty before the first epoch's end; best_weights: its weights, in model order.
    """

    epoch: int = 0
    pictures: int = 0
    parts: int = 1
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    best_weights: tuple[np.ndarray, ...] = ()

    def save(self, path: Path) -> None:
        """Write the state as one .npz, whole or not at all."""
        about = {"epoch": self.epoch, "pictures": self.pictures, "parts": self.parts, "best": dict(self.best)}
        arrays: dict[str, Any] = {_STATE: np.frombuffer(json.dumps(about).encode(), np.uint8)}
        arrays |= {f"value/{name}": value for name, value in self.values.items()}
        arrays |= {f"best/{index:05d}": value for index, value in enumerate(self.best_weights)}
        with files.atomic(path) as temporary, temporary.open("wb") as opened:
            np.savez(opened, **arrays)

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read a state; every byte is checked against the archive's CRCs.

        Raises:
            OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile: it does not exist, or is damaged.

        """
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(arrays.pop(_STATE).tobytes())
        values = {name.removeprefix("value/"): array for name, array in arrays.items() if name.startswith("value/")}
        best = tuple(array for name, array in sorted(arrays.items()) if name.startswith("best/"))
        return cls(about["epoch"], about["pictures"], about["parts"], values, about["best"], best)


_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Checkpoints:
    """The checkpoints of one training; within an epoch one is due `every_minutes`."""

    def __init__(self, folder: Path, every_minutes: float, *, read_only: bool = False) -> None:
        self.folder = folder
        self._read_only = read_only
        self._every_seconds = 60 * every_minutes
        self._saved_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether `every_minutes` have passed since the last save, or since the start."""
        return not self._read_only and time.monotonic() - self._saved_at >= self._every_seconds

    def save(self, state: State) -> None:
        """Write a checkpoint, read it back, and only then replace the previous one by it.

        Raises:
            OSError: it cannot be written (a full disk, say); the earlier ones are unchanged.

        """
        if self._read_only:
            return
        fresh, current, previous = (self.folder / name for name in _CANDIDATES)
        state.save(fresh)
        State.load(fresh)
        if current.exists():
            current.replace(previous)
        fresh.replace(current)
        self._saved_at = time.monotonic()

    def load(self) -> State | None:
        """Return the newest undamaged checkpoint, or None."""
        for name in _CANDIDATES:
            path = self.folder / name
            if path.exists():
                try:
                    return State.load(path)
                except _DAMAGE as error:
                    _log.warning("%s is damaged (%s): going on from the one before", path, error)
        return None

    @property
    def record(self) -> Path | None:
        """The folder of the training's run record, or None if it does not exist any more."""
        try:
            folder = Path(str(files.read_json(self.folder / _RUN_FILE)["record"]))
        except (UserError, KeyError, TypeError):
            return None
        return folder if folder.is_dir() else None

    def note_run(self, record: Path, identity: Mapping[str, str]) -> None:
        """Store the path of the run record, and what the training depends on."""
        if not self._read_only:
            files.write_json({"record": str(record), "identity": dict(identity)}, self.folder / _RUN_FILE)

    def remove(self) -> None:
        """Delete the checkpoints, once the training's result is saved."""
        if not self._read_only:
            shutil.rmtree(self.folder)


def prepare(
    root: Path, kind: str, identity: Mapping[str, str], *, every_minutes: float, read_only: bool = False
) -> Checkpoints:
    """Prepare the folder for a training of `kind` that depends on `identity` (digests by name); return its checkpoints.

    Logs what differs where there is only an interrupted training with another identity. `read_only` is for the other
    machines of a training, which read what the chief has written.
    """
    digest = hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()
    folder = root / f"{kind}-{digest[:16]}"
    if read_only:
        return Checkpoints(folder, every_minutes, read_only=True)
    others = sorted((other for other in root.glob(f"{kind}-*") if other != folder), key=_age)
    if not folder.exists():
        for other in others[:1]:
            _log.warning(
                "%s holds an interrupted %s of other %s: starting from the beginning",
                other,
                kind,
                _differing(other, identity),
            )
        folder.mkdir(parents=True)
    for unfinished in folder.glob(".*.tmp"):
        unfinished.unlink()
    for other in others[_OTHERS_RETAINED:]:
        shutil.rmtree(other)
    return Checkpoints(folder, every_minutes)


def _age(folder: Path) -> float:
    return -max(path.stat().st_mtime for path in (folder, *folder.glob("*")))


def _differing(folder: Path, identity: Mapping[str, str]) -> str:
    try:
        was = dict(files.read_json(folder / _RUN_FILE)["identity"])
    except (UserError, KeyError, TypeError, ValueError):
        return "params, data or code"
    return " and ".join(name for name in identity if was.get(name) != identity[name])
