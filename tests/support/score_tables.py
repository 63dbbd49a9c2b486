"""Tables as `nsfw score` writes them, of traffic that tests make up."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.batch_scoring import result

LABELS = ("drawings", "neutral", "porn")
MIX = (0.3, 0.6, 0.1)
THRESHOLD = 0.4


def probabilities(
    number: int, seed: int, mix: Sequence[float] = MIX, sharpness: float = 6.0
) -> tuple[np.ndarray, np.ndarray]:
    """Answers of a calibrated model, (n, 3), and the classes, which follow them."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(len(mix), number, p=mix)
    answers = rng.dirichlet(np.ones(len(mix)), number) ** 0.5
    answers[np.arange(number), kinds] += sharpness * rng.uniform(0, 1, number)
    answers /= answers.sum(axis=1, keepdims=True)
    true = (rng.uniform(size=number)[:, None] > answers.cumsum(axis=1)).sum(axis=1)
    return answers, true


def table(
    answers: np.ndarray,
    seed: int,
    *,
    labels: Sequence[str] = LABELS,
    model: str = "nsfw/3",
    unreadable: Mapping[str, int] = {},
    folders: Sequence[str] = ("a",),
) -> pd.DataFrame:
    """A table of these answers; `unreadable`: how many rows of each code more."""
    unsafe = answers[:, -1]
    rows = pd.DataFrame(answers, columns=[f"p_{label}" for label in labels])
    digests = [hashlib.sha256(f"{seed} {number}".encode()).hexdigest() for number in range(len(answers))]
    rows = rows.assign(
        path=[f"traffic/{folders[number % len(folders)]}/{number}.jpg" for number in range(len(answers))],
        sha256=digests,
        unsafe=unsafe,
        threshold=THRESHOLD,
        decision=np.where(unsafe >= THRESHOLD, "unsafe", "safe"),
        frames=1,
        frames_scored=1,
        deciding_frame=0,
        error="",
        model=model,
    )
    bad = [
        {"path": f"traffic/{code}{number}", "sha256": "", "error": f"{code}: as a test has it", "model": model}
        for code, count in unreadable.items()
        for number in range(count)
    ]
    return pd.concat([rows, pd.DataFrame(bad)], ignore_index=True)[
        [name for name in result.schema(labels).names if name != result.STAMP]
    ]


def write(frame: pd.DataFrame, path: Path, labels: Sequence[str] = LABELS) -> Path:
    """Write a table as `nsfw score` does."""
    schema = result.schema(labels)
    rows = pa.Table.from_pandas(frame.assign(**{result.STAMP: ""}), schema=schema, preserve_index=False)
    result.assemble([rows], path, labels)
    return path


def scores(path: Path, number: int, seed: int, mix: Sequence[float] = MIX, **more: object) -> Path:
    """Write a window of traffic."""
    answers, _ = probabilities(number, seed, mix)
    return write(table(answers, seed, **more), path)
