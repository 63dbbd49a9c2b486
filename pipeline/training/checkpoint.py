"""Where a training stands, on disk: whatever happens while one is written, a whole one is left to go on from.

    <root>/<kind>-<digest>/
        run.json        what the training depends on, and its run record
        next.npz        just written, not yet verified
        current.npz     the newest verified one
        previous.npz    the one before

The folder's name is a digest of what the weights depend on (params, data, code): another one starts afresh.
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
_KEPT_OTHERS = 1  # an interrupted training of other params may still be wanted: the newest such one

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """A training between two steps.

    epoch, pictures: where the next batch lies: `pictures` of epoch number `epoch` (from 0) have been seen.
    parts: into how many micro-batches a batch is divided.
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
            OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile: there is none, or it is damaged.

        """
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(arrays.pop(_STATE).tobytes())
        values = {name.removeprefix("value/"): array for name, array in arrays.items() if name.startswith("value/")}
        best = tuple(array for name, array in sorted(arrays.items()) if name.startswith("best/"))
        return cls(about["epoch"], about["pictures"], about["parts"], values, about["best"], best)


_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Checkpoints:
    """The checkpoints of one training; `every_minutes` says when another is due within an epoch."""

    def __init__(self, folder: Path, every_minutes: float, *, read_only: bool = False) -> None:
        self.folder = folder
        self._read_only = read_only
        self._every_seconds = 60 * every_minutes
        self._saved_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last save (or the beginning) lies long enough back."""
        return not self._read_only and time.monotonic() - self._saved_at >= self._every_seconds

    def save(self, state: State) -> None:
        """Write a checkpoint and read it back; only then does it take the place of the one before.

        Raises:
            OSError: it cannot be written (a full disk); those before are untouched.

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
        """Return the newest whole checkpoint, or None where there is none."""
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
        """The run record that goes with it, where there is one still."""
        try:
            folder = Path(str(files.read_json(self.folder / _RUN_FILE)["record"]))
        except (UserError, KeyError, TypeError):
            return None
        return folder if folder.is_dir() else None

    def belongs_to(self, record: Path, identity: Mapping[str, str]) -> None:
        """Note the run record, and what the training depends on."""
        if not self._read_only:
            files.write_json({"record": str(record), "identity": dict(identity)}, self.folder / _RUN_FILE)

    def remove(self) -> None:
        """Delete them: the training's result is in place."""
        if not self._read_only:
            shutil.rmtree(self.folder)


def find(
    root: Path, kind: str, identity: Mapping[str, str], *, every_minutes: float, read_only: bool = False
) -> Checkpoints:
    """Return the place for the checkpoints of a training of `kind` that depends on `identity` (digests by name).

    Where only one that depends on something else was interrupted, say what differs and start afresh. `read_only` is for
    the other machines of a training, which read what the chief wrote.
    """
    digest = hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()
    folder = root / f"{kind}-{digest[:16]}"
    if read_only:
        return Checkpoints(folder, every_minutes, read_only=True)
    others = sorted((place for place in root.glob(f"{kind}-*") if place != folder), key=_age)
    if not folder.exists():
        for place in others[:1]:
            _log.warning(
                "%s holds an interrupted %s of other %s: starting afresh", place, kind, _differing(place, identity)
            )
        folder.mkdir(parents=True)
    for torn in folder.glob(".*.tmp"):
        torn.unlink()
    for place in others[_KEPT_OTHERS:]:
        shutil.rmtree(place)
    return Checkpoints(folder, every_minutes)


def _age(folder: Path) -> float:
    return -max(path.stat().st_mtime for path in (folder, *folder.glob("*")))


def _differing(folder: Path, identity: Mapping[str, str]) -> str:
    try:
        was = dict(files.read_json(folder / _RUN_FILE)["identity"])
    except (UserError, KeyError, TypeError, ValueError):
        return "params, data or code"
    return " and ".join(name for name in identity if was.get(name) != identity[name])
