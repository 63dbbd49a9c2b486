"""Two models on the same pictures: differences of recall with paired bootstrap intervals.

The intervals of two models may overlap although their difference is significant, because both err on the same hard
pictures. So a picture is drawn with both predictions at once (Efron and Tibshirani 1993), within each class.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.recall import Floats, Integers

Changes = npt.NDArray[np.int64]  # after minus before of each picture: -1, 0, 1


@dataclass(frozen=True)
class Difference:
    """A recall (0..1) before and after, on the same `pictures`; `draws` are bootstrap values of after minus before."""

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
    known: Collection[str] | None = None,
) -> dict[str, Difference]:
    """Return the differences of `unsafe_recall`, `macro_recall` and `recall/<class>`, if there are pictures.

    Args:
        before: (n, classes) probabilities of one model.
        after: (n, classes) probabilities of the other model for the same pictures in the same order.
        labels: (n,) indices into `names`.
        names: the classes.
        unsafe: the unsafe ones of them; an unsafe picture predicted as any unsafe class is caught.
        resamples: the number of bootstrap draws.
        seed: of the draws.
        known: the classes that both models have labels for, if those are not all of `names`: recall/<class> is of them
            alone, and macro_recall their mean.

    Raises:
        ValueError: shapes differ, or there is no picture.

    """
    if before.shape != after.shape or before.shape != (labels.shape[0], len(names)) or not labels.size:
        raise ValueError(f"predictions {before.shape} and {after.shape} for {labels.shape[0]} labels")
    rng = np.random.default_rng(seed)
    members = np.array([name in unsafe for name in names])
    predicted = before.argmax(axis=1), after.argmax(axis=1)
    strata = {name: labels == index for index, name in enumerate(names) if (labels == index).any()}
    right = predicted[0] == labels, predicted[1] == labels
    by_class = {
        name: _difference(right[0][rows], right[1][rows], resamples, rng)
        for name, rows in strata.items()
        if known is None or name in known
    }
    by_measure = {f"recall/{name}": part for name, part in by_class.items()}
    caught = members[predicted[0]], members[predicted[1]]
    unsafe_strata = [rows for name, rows in strata.items() if name in unsafe]
    if unsafe_strata:
        by_measure["unsafe_recall"] = _pooled(
            [_difference(caught[0][rows], caught[1][rows], resamples, rng) for rows in unsafe_strata]
        )
    return by_measure | ({"macro_recall": _mean(list(by_class.values()))} if by_class else {})


def _difference(
    before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_], resamples: int, rng: np.random.Generator
) -> Difference:
    # Of n pictures drawn with replacement only three counts matter: won, lost and alike. They are multinomial.
    pictures = before.size
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    shares = np.array([won, lost, pictures - won - lost]) / pictures
    counts = rng.multinomial(pictures, shares, size=resamples)
    draws = (counts[:, 0] - counts[:, 1]) / pictures
    return Difference(float(before.mean()), float(after.mean()), pictures, draws)


def _mean(parts: Sequence[Difference]) -> Difference:
    """Return the mean over classes, each with equal weight."""
    return Difference(
        float(np.mean([part.before for part in parts])),
        float(np.mean([part.after for part in parts])),
        sum(part.pictures for part in parts),
        np.mean([part.draws for part in parts], axis=0),
    )


def _pooled(parts: Sequence[Difference]) -> Difference:
    """Return the mean over classes, weighted by their pictures."""
    sizes = np.array([part.pictures for part in parts], dtype=np.float64)
    weights = sizes / sizes.sum()
    return Difference(
        float(sum(weight * part.before for weight, part in zip(weights, parts, strict=True))),
        float(sum(weight * part.after for weight, part in zip(weights, parts, strict=True))),
        int(sizes.sum()),
        np.sum([weight * part.draws for weight, part in zip(weights, parts, strict=True)], axis=0),
    )
