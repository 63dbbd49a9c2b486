"""Tables of `nsfw score` as windows of traffic: each content once, with its probabilities or why it has none.

window = read(Path("scores-2026-11.parquet"))
window.labels, len(window.scored)
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core import spreadsheet_cells, tables
from pipeline.core.errors import UserError
from pipeline.serving.decision import SAFE, UNSAFE

SCORED = ""  # the reason of a content that has probabilities
_TEXTS = ("path", "sha256", "decision", "error", "model")
_SHOWN = 120  # characters of a value in a message
_REMEDY = "Give a table that `nsfw score ... --out` wrote: .parquet, .csv or .jsonl."


@dataclass(frozen=True)
class Window:
    """What was scored in a window of time.

    `contents`: a row for each content, sorted by sha256: `path, sha256, p_<label>..., unsafe, decision, reason`. A
    content that came several times counts once, as repeats are not independent. What has no sha256 is a row, too.
    `rows`: of the table. `models`: that scored it.
    """

    name: str
    path: Path
    labels: tuple[str, ...]
    contents: pd.DataFrame
    rows: int
    models: tuple[str, ...]

    @property
    def scored(self) -> pd.DataFrame:
        """The contents that have probabilities."""
        return self.contents[self.contents["reason"] == SCORED]

    def part(self, members: set[str]) -> "Window":
        """Return the contents whose sha256 is one of `members`, as a window of its own."""
        return replace(self, contents=self.contents[self.contents["sha256"].isin(members)])


def read(path: Path) -> Window:
    """Return a window of one table.

    Raises:
        UserError: it cannot be read, is no table of `nsfw score`, or a row of it has numbers that are none.

    """
    if path.suffix not in _READERS or not path.is_file():
        raise UserError(f"{path} is no {'table of scores' if path.exists() else 'file'}. {_REMEDY}")
    frame = _READERS[path.suffix](path)
    labels = tuple(name.removeprefix("p_") for name in frame.columns if name.startswith("p_"))
    lacking = [name for name in (*_TEXTS, "unsafe") if name not in frame.columns]
    if lacking or len(labels) < 2:
        lacking += ["p_<class>"] * (len(labels) < 2)
        raise UserError(f"{path} is no table of scores: it lacks {', '.join(lacking)}. {_REMEDY}")
    frame = frame.reset_index(drop=True)
    for name in _TEXTS:
        frame[name] = frame[name].fillna("").astype(str)
    frame["reason"] = frame["error"].str.partition(":")[0].str.strip()
    _check_numbers(path, frame, [*(f"p_{label}" for label in labels), "unsafe"])
    columns = ["path", "sha256", *(f"p_{label}" for label in labels), "unsafe", "decision", "reason"]
    contents = frame[columns].sort_values(["sha256", "path"], kind="stable")
    once = contents[(contents["sha256"] == "") | ~contents["sha256"].duplicated()]
    models = tuple(sorted(set(frame["model"]) - {""}))
    return Window(path.stem, path, labels, once.reset_index(drop=True), len(frame), models)


def check_comparable(reference: Window, windows: list[Window]) -> None:
    """Check that the windows can be compared with the reference.

    Raises:
        UserError: another model, or one of other classes, scored one of them; or there is nothing to compare.

    """
    for window in windows:
        if window.labels != reference.labels:
            raise UserError(
                f"{window.path} has the classes {_shown(window.labels)}, {reference.path} has "
                f"{_shown(reference.labels)}. Score both with one model."
            )
        if window.models != reference.models:
            raise UserError(
                f"{window.path} was scored by {_shown(window.models)}, {reference.path} by {_shown(reference.models)}: "
                "what differs may be the model. Score both with one model."
            )
    for window in (reference, *windows):
        if not len(window.scored):
            raise UserError(f"{window.path} holds no picture that was scored.")


def _check_numbers(path: Path, frame: pd.DataFrame, names: list[str]) -> None:
    """Convert the columns of `frame` itself; refuse a scored row without probabilities, and a decision that is none."""
    for name in names:
        numbers = pd.to_numeric(frame[name], errors="coerce").astype(np.float64)
        wrong = (frame["reason"] == SCORED) & ~numbers.between(0.0, 1.0 + 1e-6)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise UserError(f"{path}, row {row + 1}: {name} is {str(frame[name][row])[:_SHOWN]!r}, no probability.")
        frame[name] = numbers
    wrong = (frame["reason"] == SCORED) & ~frame["decision"].isin([SAFE, UNSAFE, ""])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(f"{path}, row {row + 1}: decision is {frame['decision'][row][:_SHOWN]!r}, not safe or unsafe.")


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names)[:_SHOWN] or "none"


def _read_csv(path: Path) -> pd.DataFrame:
    frame = tables.read_csv(path, ["path", "sha256"])
    return frame.assign(path=frame["path"].map(spreadsheet_cells.unguard))


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise UserError(f"{path}, line {number} is no JSON object. {_REMEDY}")
                rows.append(row)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON lines ({' '.join(str(error).split())[:_SHOWN]}).") from None
    return pd.DataFrame(rows)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": tables.read_parquet,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
}
