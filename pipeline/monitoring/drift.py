"""What differs between a reference and a window of traffic, and whether chance explains it.

For each figure a test of "nothing has changed" and a size of the difference. It is drift if both speak: the p-value, by
Benjamini and Hochberg (1995) over all tests of a run, is at most `alpha`, so that a run in which nothing has changed
reports drift with that probability; and the difference is as large as the limits ask for, as in large windows every
difference is significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from pipeline.monitoring.scores import SCORED, Window
from pipeline.params.monitor import Monitor
from pipeline.serving.decision import UNSAFE

DECISIONS, CLASSES, UNREADABLE, SCORE = "unsafe decisions", "classes", "unreadable", "score unsafe"
ALL = ""  # the slice of all pictures
_BINS = 10  # of a distribution of scores: the reference's deciles, as is usual
_LEAST_EXPECTED = 5.0  # rarer categories are tested together: chi-squared is not to be trusted below

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """A category or a range of scores, and its share of the pictures of the reference and of the window (0..1)."""

    name: str
    reference: float
    window: float


@dataclass(frozen=True)
class Comparison:
    """One figure of a window beside the reference's.

    `psi`: population stability index, the sum of (b - a) ln(b / a) over the shares a and b; 0.1 is a small change by
    custom, 0.25 a large one. `reference`, `window`: the mean score, or the share of pictures; of categories the share
    of the one that has changed most. `p`: of the test; None where there are too few pictures. `drifted`: see above.
    """

    slice: str
    figure: str
    pictures: tuple[int, int]
    reference: float
    window: float
    psi: float
    p: float | None
    shares: tuple[Share, ...]
    drifted: bool = False


def population_stability(reference: Counts, window: Counts) -> float:
    """Return the population stability index of two tables of counts; half a picture is added to each cell."""
    before, after = (
        (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
        for counts in (reference.astype(float), window.astype(float))
    )
    return float(((after - before) * np.log(after / before)).sum())


def compare(reference: Window, window: Window, limits: Monitor, slices: pd.DataFrame | None = None) -> list[Comparison]:
    """Return every comparison of a window, of all its pictures and of each slice, not judged yet.

    `slices` has `sha256, slice`. A slice with too few pictures on either side has no p-value.
    """
    rows = _compare_part(ALL, reference, window, limits)
    if slices is None:
        return rows
    for name, members in slices.groupby("slice")["sha256"]:
        inside = set(members)
        parts = reference.part(inside), window.part(inside)
        if all(len(part.scored) for part in parts):
            rows += _compare_part(str(name), *parts, limits)
    return rows


def judge(rows: Sequence[Comparison], limits: Monitor) -> list[Comparison]:
    """Return the comparisons of a whole run with `drifted`: significant among all of them, and large enough."""
    tested = [(number, row.p) for number, row in enumerate(rows) if row.p is not None]
    adjusted = stats.false_discovery_control([p for _, p in tested]).tolist() if tested else []
    judged = list(rows)
    for (number, _), p in zip(tested, adjusted, strict=True):
        judged[number] = replace(rows[number], drifted=bool(p <= limits.alpha) and _is_large(rows[number], limits))
    return judged


def _is_large(row: Comparison, limits: Monitor) -> bool:
    if row.figure == DECISIONS:
        return abs(row.window - row.reference) >= limits.min_shift
    return row.psi >= limits.min_psi


def _compare_part(name: str, reference: Window, window: Window, limits: Monitor) -> list[Comparison]:
    before, after = reference.scored, window.scored
    enough = min(len(before), len(after)) >= limits.min_pictures
    rows = []
    if (before["decision"] != "").any() and (after["decision"] != "").any():
        rows.append(_decisions(before, after))
    probabilities = [f"p_{label}" for label in reference.labels]
    calls = [frame[probabilities].to_numpy().argmax(axis=1) for frame in (before, after)]
    names = list(reference.labels)
    rows.append(_categories(CLASSES, names, *(np.bincount(call, minlength=len(names)) for call in calls)))
    rows.append(_scores(SCORE, before["unsafe"].to_numpy(), after["unsafe"].to_numpy()))
    rows += [_scores(f"score {label}", before[f"p_{label}"].to_numpy(), after[f"p_{label}"].to_numpy())
             for label in reference.labels]  # fmt: skip
    rows.append(_unreadable(reference.contents["reason"], window.contents["reason"]))
    return [replace(row, slice=name, p=row.p if enough else None) for row in rows]


def _decisions(before: pd.DataFrame, after: pd.DataFrame) -> Comparison:
    counts = [
        np.array([(part["decision"] == UNSAFE).sum(), (part["decision"] != UNSAFE).sum()]) for part in (before, after)
    ]
    p = float(stats.fisher_exact(np.stack(counts)).pvalue)
    shares = _shares(["unsafe", "safe"], *counts)
    return Comparison(
        ALL, DECISIONS, _sizes(*counts), shares[0].reference, shares[0].window, population_stability(*counts), p, shares
    )


def _scores(figure: str, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> Comparison:
    """Compare two distributions: the test is Kolmogorov and Smirnov's, which needs no bins."""
    edges = np.unique(np.quantile(before, np.linspace(0, 1, _BINS + 1)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) for values in (before, after)
    ]
    limits = [0.0, *edges.tolist(), 1.0]
    names = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(limits)]
    p = float(stats.ks_2samp(before, after, method="asymp").pvalue)
    means = float(before.mean()), float(after.mean())
    return Comparison(ALL, figure, _sizes(*counts), *means, population_stability(*counts), p, _shares(names, *counts))


def _unreadable(before: pd.Series, after: pd.Series) -> Comparison:
    reasons = sorted((set(before) | set(after)) - {SCORED})
    names = ["scored", *reasons]
    counts = [np.array([(part == reason).sum() for reason in (SCORED, *reasons)]) for part in (before, after)]
    return _categories(UNREADABLE, names, *counts)


def _categories(figure: str, names: Sequence[str], before: Counts, after: Counts) -> Comparison:
    shares = _shares(names, before, after)
    most = max(shares, key=lambda share: abs(share.window - share.reference))
    psi, p = population_stability(before, after), _chi_squared(before, after)
    return Comparison(ALL, figure, _sizes(before, after), most.reference, most.window, psi, p, shares)


def _chi_squared(before: Counts, after: Counts) -> float:
    """Return the p-value of the test of homogeneity; the rarest categories are added up until they are frequent enough.

    Of two categories the test is Fisher's, which is exact.
    """
    columns = sorted((pair for pair in zip(before.tolist(), after.tolist(), strict=True) if any(pair)), key=sum)
    share = min(before.sum(), after.sum()) / (before.sum() + after.sum())
    while len(columns) > 2 and sum(columns[0]) * share < _LEAST_EXPECTED:
        first, second, *others = columns
        columns = sorted([(first[0] + second[0], first[1] + second[1]), *others], key=sum)
    if len(columns) < 2:
        return 1.0
    table = np.array(columns).T
    test = stats.fisher_exact if len(columns) == 2 else partial(stats.chi2_contingency, correction=False)
    return float(test(table).pvalue)


def _shares(names: Sequence[str], before: Counts, after: Counts) -> tuple[Share, ...]:
    return tuple(
        Share(name, float(one) / before.sum(), float(other) / after.sum())
        for name, one, other in zip(names, before, after, strict=True)
    )


def _sizes(before: Counts, after: Counts) -> tuple[int, int]:
    return int(before.sum()), int(after.sum())
