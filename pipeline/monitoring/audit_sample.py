"""A sample of scored pictures for people to look at, and what their labels say of all: true recall and precision.

    write(draw(windows, 200, seed=1), Path("audit.csv"))  # people fill in the column label
    estimate(read(Path("audit.csv"), labels, unsafe), confidence=0.95, seed=1)

Most unsafe pictures of real traffic are rare, and those that were missed are rarer still: in a plain sample there would
be none. So the sample is stratified by decision and score, and a stratum's size follows Neyman (1934): its number of
pictures times the standard deviation within it, by the model's own calibrated probability.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.core import csv_rows, spreadsheet_cells, tables
from pipeline.core.csv_rows import Column
from pipeline.core.decisions import UNSURE
from pipeline.core.errors import UserError
from pipeline.monitoring.scores import Window
from pipeline.serving.decision import SAFE, UNSAFE

COLUMNS = ("sha256", "path", "window", "unsafe", "decision", "stratum", "stratum_pictures", "label")
_CUTS = {UNSAFE: (0.5,), SAFE: (0.5, 0.8, 0.95, 0.99)}  # quantiles of the score that divide a decision's pictures
_LEAST = 5  # of a stratum, as far as it has so many
_DRAWS = 20_000


@dataclass(frozen=True)
class Estimate:
    """A share (0..1) of all pictures of the windows, and its interval; None where nothing is known."""

    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Audited:
    """What people's labels say: estimates for all pictures, and how many were looked at."""

    recall: Estimate
    precision: Estimate
    prevalence: Estimate
    labelled: int
    sampled: int
    pictures: int

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it for a terminal."""
        names = {"unsafe recall": self.recall, "unsafe precision": self.precision, "share of unsafe": self.prevalence}
        head = f"{self.labelled} of {self.sampled} sampled pictures are labelled; they stand for {self.pictures:,}"
        return [head, *(f"{name:<16} {_shown(one)}" for name, one in names.items())]


def _shown(estimate: Estimate) -> str:
    if estimate.value is None or estimate.interval is None:
        return "n/a"
    low, high = estimate.interval
    return f"{100 * estimate.value:6.2f} %  ({100 * low:.2f} to {100 * high:.2f})"


def draw(windows: Sequence[Window], number: int, seed: int) -> pd.DataFrame:
    """Return a sample of about `number` scored contents of the windows, with COLUMNS; `label` is empty.

    Raises:
        UserError: they have no decisions.

    """
    parts = [window.scored.assign(window=window.name) for window in windows]
    pictures = pd.concat(parts, ignore_index=True).drop_duplicates("sha256", ignore_index=True)
    pictures = pictures[pictures["decision"] != ""].reset_index(drop=True)
    if pictures.empty:
        raise UserError("no picture has a decision to audit: the version that scored them has no threshold.")
    scores, strata = pictures["unsafe"].to_numpy(), _strata(pictures)
    names, code, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    means = np.bincount(code, weights=scores) / sizes
    drawn = _allocate(sizes, np.sqrt(np.maximum(means * (1 - means), 1e-6)), number)
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(code == stratum), size, replace=False) for stratum, size in enumerate(drawn.tolist())
    ]
    pictures = pictures.assign(stratum=names[code], stratum_pictures=sizes[code], label="")
    sample = pictures.loc[np.sort(np.concatenate(chosen))].sort_values("sha256")
    return sample[list(COLUMNS)].reset_index(drop=True)


def write(sample: pd.DataFrame, out: Path) -> None:
    """Write a sample as csv; a path that a spreadsheet would run gets a ' before it."""
    tables.write_csv(sample.assign(path=sample["path"].map(spreadsheet_cells.guard)), out)


def read(path: Path, labels: Sequence[str], unsafe: Sequence[str]) -> pd.DataFrame:
    """Return a sample whose labels people have filled in: `decision, stratum, stratum_pictures, is_unsafe`.

    `is_unsafe` is None where nobody has decided: the label is empty, or `unsure`.

    Raises:
        UserError: it is no such table, or a row has an unknown label.

    """
    allowed = [*labels, SAFE, UNSAFE, UNSURE]

    def label(text: str) -> str:
        if text not in {*allowed, ""}:
            raise ValueError(f"must be {', '.join(dict.fromkeys(allowed))}, or empty")
        return text

    def count(text: str) -> str:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError("must be a number of pictures")
        return text

    parsers = {"label": label, "stratum_pictures": count}
    columns = [Column(name, parsers.get(name, str), required=name not in {"label", "path"}) for name in COLUMNS]
    rows = csv_rows.read(path, columns)
    decided = {**{name: name in unsafe for name in labels}, SAFE: False, UNSAFE: True}
    return rows.assign(
        stratum_pictures=rows["stratum_pictures"].astype(int), is_unsafe=rows["label"].map(decided).astype(object)
    )


def estimate(rows: pd.DataFrame, *, confidence: float, seed: int) -> Audited:
    """Return recall, precision and prevalence of all pictures, from the labelled ones of each stratum.

    Values are the stratified estimators. Intervals are quantiles of the same figures with each stratum's share drawn
    from its posterior (Beta, Jeffreys' prior), which has a width where nothing was missed, too.

    Raises:
        UserError: a stratum has no labelled picture.

    """
    strata = []
    for name, part in rows.groupby("stratum"):
        known = part["is_unsafe"].dropna()
        if known.empty:
            raise UserError(
                f"no picture of the stratum {name!r} is labelled: label at least one of each stratum, best all of them."
            )
        size = int(part["stratum_pictures"].iloc[0])
        strata.append((size, part["decision"].iloc[0] == UNSAFE, int(known.sum()), len(known)))
    sizes, flagged, unsafe, looked = (np.array(column) for column in zip(*strata, strict=True))
    rng = np.random.default_rng(seed)
    drawn = rng.beta(unsafe + 0.5, looked - unsafe + 0.5, (_DRAWS, len(strata)))
    figures = [_figures(shares, sizes, flagged) for shares in ((unsafe / looked)[None], drawn)]
    tail = (1 - confidence) / 2
    recall, precision, prevalence = (
        Estimate(None, None)
        if np.isnan(value).any()
        else Estimate(float(value[0]), (float(np.quantile(draws, tail)), float(np.quantile(draws, 1 - tail))))
        for value, draws in zip(*figures, strict=True)
    )
    return Audited(recall, precision, prevalence, int(looked.sum()), len(rows), int(sizes.sum()))


def _figures(
    shares: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], flagged: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Return recall, precision and prevalence for each row of the strata's shares of unsafe pictures; (n)."""
    unsafe = shares * sizes
    caught, total = unsafe[:, flagged].sum(axis=1), unsafe.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return caught / total, caught / sizes[flagged].sum(), total / sizes.sum()


def _strata(pictures: pd.DataFrame) -> npt.NDArray[np.str_]:
    """Return each picture's stratum: its decision, and the range of scores within it; (n)."""
    scores, decisions = pictures["unsafe"].to_numpy(), pictures["decision"].to_numpy()
    names = np.full(len(pictures), "", "U16")
    for decision, cuts in _CUTS.items():
        inside = decisions == decision
        if inside.any():
            level = np.searchsorted(np.unique(np.quantile(scores[inside], cuts)), scores[inside], side="right")
            names[inside] = [f"{decision} {number + 1}" for number in level.tolist()]
    return names


def _allocate(sizes: npt.NDArray[np.int64], deviations: npt.NDArray[np.float64], number: int) -> npt.NDArray[np.int64]:
    """Return how many pictures of each stratum are drawn: as Neyman does, at least `_LEAST`, at most all of it."""
    weights = sizes * deviations
    wanted = np.rint(weights / weights.sum() * number).astype(np.int64)
    drawn: npt.NDArray[np.int64] = np.minimum(sizes, np.maximum(_LEAST, wanted))
    return drawn
