"""Two models on the same pictures: differences of recall with paired bootstrap intervals.

Separate intervals of two models overlap long before their difference is noise: both err on the same hard pictures. Here
a picture is drawn with both answers at once (Efron and Tibshirani 1993), each class by itself, as recall is by class.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.recall import Floats, Integers

Changes = npt.NDArray[np.int64]  # after minus before of each picture: -1, 0, 1


@dataclass(frozen=True)
class Difference:
    """A recall before and after, on the same `pictures`; `draws` are the bootstrap's values of after minus before."""

    before: float
    after: float
    pictures: int
    draws: npt.NDArray[np.float64]

    @property
    def change(self) -> float:
        """After minus before."""
        return self.after - self.before

    def interval(self, confidence: float) -> list[float]:
        """Return the percentile interval [low, high] of the change."""
        low, high = np.quantile(self.draws, [(1 - confidence) / 2, (1 + confidence) / 2])
        return [float(low), float(high)]

    def risk(self, drop: float) -> float:
        """Return the share of draws in which the recall falls by more than `drop` (0..1)."""
        return float((self.draws < -drop - 1e-12).mean())


def differences(
    before: Floats,
    after: Floats,
    labels: Integers,
    names: Sequence[str],
    unsafe: Collection[str],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Difference]:
    """Return the differences of `unsafe_recall`, `macro_recall` and `recall/<class>` (classes with pictures only).

    Args:
        before: (n, classes) probabilities of one model.
        after: (n, classes) probabilities of the other, of the same pictures in the same order.
        labels: (n,) indices into `names`.
        names: the classes.
        unsafe: those of them that must not be missed; one called another of them is caught.
        resamples: bootstrap draws.
        seed: of the draws.

    Raises:
        ValueError: shapes differ, or there is no picture.

    """
    if before.shape != after.shape or before.shape != (labels.shape[0], len(names)) or not labels.size:
        raise ValueError(f"predictions {before.shape} and {after.shape} for {labels.shape[0]} labels")
    rng = np.random.default_rng(seed)
    members = np.array([name in unsafe for name in names])
    said = before.argmax(axis=1), after.argmax(axis=1)
    found: dict[str, Difference] = {}
    strata = [labels == index for index in range(len(names))]
    right = said[0] == labels, said[1] == labels
    for name, rows in zip(names, strata, strict=True):
        if rows.any():
            found[f"recall/{name}"] = _difference(right[0][rows], right[1][rows], resamples, rng)
    by_class = list(found.values())
    macro = Difference(
        float(np.mean([each.before for each in by_class])),
        float(np.mean([each.after for each in by_class])),
        int(labels.size),
        np.mean([each.draws for each in by_class], axis=0),
    )
    held = [rows for name, rows in zip(names, strata, strict=True) if name in unsafe and rows.any()]
    if held:
        caught = members[said[0]], members[said[1]]
        parts = [_difference(caught[0][rows], caught[1][rows], resamples, rng) for rows in held]
        found["unsafe_recall"] = _together(parts)
    return found | {"macro_recall": macro}


def _difference(
    before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_], resamples: int, rng: np.random.Generator
) -> Difference:
    # Drawing n pictures with replacement leaves three counts, won, lost and alike: a multinomial, drawn at once.
    pictures = before.size
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    shares = np.array([won, lost, pictures - won - lost]) / pictures
    counts = rng.multinomial(pictures, shares, size=resamples)
    draws = (counts[:, 0] - counts[:, 1]) / pictures
    return Difference(float(before.mean()), float(after.mean()), pictures, draws)


def _together(parts: Sequence[Difference]) -> Difference:
    sizes = np.array([part.pictures for part in parts], dtype=np.float64)
    weights = sizes / sizes.sum()
    return Difference(
        float(sum(weight * part.before for weight, part in zip(weights, parts, strict=True))),
        float(sum(weight * part.after for weight, part in zip(weights, parts, strict=True))),
        int(sizes.sum()),
        np.sum([weight * part.draws for weight, part in zip(weights, parts, strict=True)], axis=0),
    )
