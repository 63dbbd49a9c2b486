"""The pictures of a folder to measure: which files they are, and the network's answer to each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from pipeline.core import executor
from pipeline.core.errors import UserError
from pipeline.data import walk
from pipeline.images import sandbox, sandbox_chunks
from pipeline.images.limits import Limits, Rejected
from pipeline.images.preprocessing import FramePixels, Preprocessor
from pipeline.images.resize import SQUASH, Resize
from pipeline.serving.decision import Decision, worst_frame

if TYPE_CHECKING:
    from pipeline.params.root import Params

_CHUNK, _BATCH = 256, 32
_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class FrameReader:
    """Reads a picture file as `preprocessor` makes it."""

    preprocessor: Preprocessor

    def read(self, path: str) -> FramePixels:
        """Return the frames that the model sees; runs in a sandbox worker.

        Raises:
            Rejected: the file cannot be read, is too large, or is no usable picture.

        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise Rejected("unreadable", error.strerror or type(error).__name__) from None
        if len(data) > _MAX_BYTES:
            raise Rejected("too_large", f"more than {_MAX_BYTES:,} bytes")
        return self.preprocessor.frames_from_bytes(data)


def check_folder(folder: Path) -> None:
    """Check that `folder` holds folders, before any request to a server.

    Raises:
        UserError: it does not.

    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder. It must hold a folder for each label.")
    if not any(entry.is_dir() for entry in folder.iterdir()):
        raise UserError(f"{folder} holds no folder. It must hold one for each label: {folder}/neutral/a.jpg, say.")


def list_files(folder: Path, names: Sequence[str], model: str) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Return label and absolute path of each file, in order, and the number of other entries by problem code.

    Raises:
        UserError: a folder's name is no label of `model`.

    """
    entries = walk.walk(os.fsencode(folder)).entries
    inside = [entry for entry in entries if entry.is_folder or b"/" in entry.shown]
    labels = sorted({os.fsdecode(entry.shown.partition(b"/")[0]) for entry in inside})
    unknown = [ascii(label) for label in labels if label not in names]
    if unknown:
        raise UserError(
            f"{folder} holds {', '.join(unknown)}; its folders must be labels of {model}: {', '.join(names)}. "
            "Rename them, or measure a version that knows these labels (--version)."
        )
    codes = Counter(entry.problem.partition(":")[0] for entry in inside if entry.problem)
    codes["no_label"] = len(entries) - len(inside)
    root = folder.absolute()
    sound = [os.fsdecode(entry.shown) for entry in inside if not entry.problem]
    return [(shown.partition("/")[0], str(root / shown)) for shown in sound], dict(sorted((+codes).items()))


def worst_frame_answers(
    network: Any,
    decision: Decision,
    files: Sequence[tuple[str, str]],
    size: int,
    params: Params,
    resize: Resize = SQUASH,
) -> tuple[np.ndarray, list[str], dict[str, int]]:
    """Return the network's answers to the readable files, each to its worst frame; their labels; unreadable files.

    Answers have shape (pictures, classes), uncalibrated; unreadable files are counted by code.
    """
    limits = Limits(**params.catalog.limits)
    cost = sandbox.WorkerLimits(params.catalog.seconds, params.catalog.memory_mb, executor.cores())
    read = partial(FrameReader.read, FrameReader(Preprocessor(limits, size, resize)))
    parts: list[np.ndarray] = []
    labels: list[str] = []
    unreadable: dict[str, int] = {}
    outcomes = sandbox_chunks.run(read, [path for _, path in files], cost)
    for chunk in tqdm(list(_chunks(files)), desc="measure", unit="chunk", disable=None):
        shown: list[FramePixels] = []
        for (label, _), outcome in zip(chunk, islice(outcomes, len(chunk)), strict=True):
            if isinstance(outcome, sandbox.Failure):
                unreadable[outcome.code] = unreadable.get(outcome.code, 0) + 1
            else:
                shown.append(outcome)
                labels.append(label)
        batches = (shown[start : start + _BATCH] for start in range(0, len(shown), _BATCH))
        parts.extend(_worst(network, decision, batch) for batch in batches)
    return np.concatenate(parts) if parts else np.empty((0, 0)), labels, dict(sorted(unreadable.items()))


def _worst(network: Any, decision: Decision, pictures: Sequence[FramePixels]) -> np.ndarray:
    """Return the network's uncalibrated answers (pictures, classes) to each picture's deciding frame."""
    squares = np.concatenate([picture.pixels for picture in pictures])
    answers = [np.asarray(network(squares[start : start + _BATCH])) for start in range(0, len(squares), _BATCH)]
    ends = np.cumsum([len(picture.pixels) for picture in pictures])
    by_picture = np.split(np.concatenate(answers), ends[:-1])
    return np.stack([raw[worst_frame(decision.score(decision.probabilities(raw)))] for raw in by_picture])


def _chunks(files: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    for start in range(0, len(files), _CHUNK):
        yield files[start : start + _CHUNK]
