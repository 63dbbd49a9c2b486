"""Logistic regressions by folds, all fitted at once on features that are read a part at a time.

Each fold's model is the minimum of a strictly convex function: the mean cross-entropy of the other folds' pictures, and
an L2 penalty, as scikit-learn's `LogisticRegression` after a `StandardScaler` has it. That class wants all pictures in
memory, once a fold. Here L-BFGS (SciPy) asks for the sum of the folds' functions and its gradient, which one pass over
the features gives for all folds: memory is that of a part, and the time grows with the number of pictures. It searches
in coordinates in which the function curves about equally in all directions, so that a hundred passes suffice.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]
Parts = Callable[[], Iterable[tuple[slice, npt.NDArray[np.float32]]]]

# Where scikit-learn's solver stops by default, too: largest component of the gradient, relative change, iterations.
# After 100 of the 500 that 12,000 pictures of CIFAR-10 take, the mean difference of a probability is 0.0007, and of the
# 5 % that are suspected first 99 % are the same; without the coordinates below it takes 200 to come as near.
_GRADIENT, _CHANGE, _ITERATIONS = 1e-4, 64 * float(np.finfo(float).eps), 100
_IN_MEMORY = 512 * 2**20  # bytes of float32 features; more are read again in every pass
_LEAST_PENALTY = 1e-5  # in the coordinates alone: float32 sums of a covariance may be below zero by less
_CONSTANT = 1e-10  # a feature's variance, in units of 1 + its squared mean, that is only rounding


class Features(Protocol):
    """What gives the vectors of n pictures, each in several views, of which 0 is the clean picture."""

    @property
    def width(self) -> int:
        """How many features a vector has."""

    def take(self, pictures: Integers, view: int) -> npt.NDArray[np.float32]:
        """Return the vectors (m, width) of pictures (m, indices) in a view."""

    def chunks(self, view: int) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Yield (pictures, their vectors (m, width) in a view) for all pictures in order."""


@dataclass(frozen=True)
class _Folds:
    """The folds' problems. A picture is fitted by all models but that of its own fold.

    labels, fold: (n). seen: (folds, classes), whether a model's pictures have the class. fitted: (folds), how many
    vectors a model is fitted to. mean, scale: (folds, width), of these vectors' features. penalty: (folds).
    """

    labels: Integers
    fold: Integers
    seen: npt.NDArray[np.bool_]
    fitted: Floats
    mean: Floats
    scale: Floats
    penalty: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the models' weights: folds, features and intercept, classes."""
        return len(self.fitted), self.mean.shape[1] + 1, self.seen.shape[1]


def judge(
    features: Features, labels: Integers, fold: Integers, *, classes: int, views: int, inverse_penalty: float
) -> Floats:
    """Return each picture's class probabilities, shape (n, classes), by the model that was fitted without its fold.

    They are the mean over the picture's views. A class that a model never saw gets 1 / classes.

    Args:
        features: Of n pictures.
        labels: Shape (n,), integers 0..classes-1.
        fold: Shape (n,), integers 0..folds-1.
        classes: The number of classes; some may have no picture.
        views: How many views of each picture are fitted.
        inverse_penalty: scikit-learn's C: the loss of one vector in units of half the squared norm of the weights.

    """
    from scipy.optimize import minimize

    parts = _parts(features, len(labels), views)
    folds = _folds(parts, labels, fold, classes, views, inverse_penalty)
    coordinates = _coordinates(folds, parts)

    def loss(values: Floats) -> tuple[float, Floats]:
        of_folds, gradient = _loss(folds, parts, coordinates.weights(values))
        return of_folds, coordinates.gradient(gradient)

    options: Any = {"maxiter": _ITERATIONS, "maxls": 50, "gtol": _GRADIENT, "ftol": _CHANGE}
    minimum = minimize(loss, np.zeros(int(np.prod(folds.shape))), method="L-BFGS-B", jac=True, options=options)
    slopes, intercepts = _on_features(folds, coordinates.weights(minimum.x).reshape(folds.shape))
    probabilities = np.zeros((len(labels), classes))
    for part, vectors in parts():
        logits = _logits(folds, vectors, slopes, intercepts)
        own = np.take_along_axis(logits, fold[part][:, None, None], axis=1)[:, 0]
        probabilities[part] += np.exp(_log_softmax(own)) / views
    share = folds.seen.sum(axis=1)[fold][:, None] / classes
    answered = np.where(folds.seen[fold], probabilities * share, 1.0 / classes)
    return np.where(folds.seen[fold].sum(axis=1)[:, None] > 1, answered, 1.0 / classes)


def _parts(features: Features, pictures: int, views: int) -> Parts:
    """Return what gives (pictures, vectors) of all views, from memory where they fit."""

    def read() -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        for view in range(views):
            yield from features.chunks(view)

    if 4 * views * pictures * features.width > _IN_MEMORY:
        return read
    held = list(read())
    return lambda: held


def _folds(parts: Parts, labels: Integers, fold: Integers, classes: int, views: int, inverse_penalty: float) -> _Folds:
    """Return the problems, after a pass over the features for their means and standard deviations."""
    count = int(fold.max()) + 1
    table = np.zeros((count, classes))
    np.add.at(table, (fold, labels), 1)
    seen = (table.sum(axis=0) - table) > 0
    sizes = np.bincount(fold, minlength=count).astype(float)
    origin, sums, squares = None, 0.0, 0.0
    for part, vectors in parts():
        wide = vectors.astype(np.float64)
        if origin is None:
            origin = wide.mean(axis=0)  # near the mean, squares do not cancel
        wide -= origin
        member = (fold[part][:, None] == np.arange(count)).astype(np.float64)
        sums, squares = sums + member.T @ wide, squares + member.T @ wide**2
    fitted = views * (sizes.sum() - sizes)
    mean = (np.sum(sums, axis=0) - sums) / fitted[:, None]
    variance = (np.sum(squares, axis=0) - squares) / fitted[:, None] - mean**2
    whole_mean = mean + (0.0 if origin is None else origin)
    varies = variance > _CONSTANT * (1 + whole_mean**2)
    scale = np.where(varies, np.sqrt(np.maximum(variance, 0.0)), 1.0)
    return _Folds(labels, fold, seen, fitted, whole_mean, scale, 1.0 / (inverse_penalty * fitted))


@dataclass(frozen=True)
class _Coordinates:
    """The weights in coordinates in which the loss curves about equally in all directions (preconditioning).

    Features go together, so in some directions the loss curves thousands of times as much as in others, the more so the
    less the penalty weighs, that is, the more pictures there are. L-BFGS then takes ever more passes. In these
    coordinates it takes about as many for any number of pictures, and the minimum is the same one.

    root: (width, width), lower triangular; root @ root.T is about the loss' second derivative by a class' slopes.
    intercept: the square root of that by an intercept. shape: of the weights.
    """

    root: Floats
    intercept: float
    shape: tuple[int, int, int]

    def weights(self, values: Floats) -> Floats:
        """Return the weights at the coordinates `values`, both flat."""
        return self._solved(values, transposed=True)

    def gradient(self, by_weights: Floats) -> Floats:
        """Return the gradient by the coordinates, given that by the weights."""
        return self._solved(by_weights, transposed=False)

    def _solved(self, flat: Floats, *, transposed: bool) -> Floats:
        from scipy.linalg import solve_triangular

        solve: Any = solve_triangular  # its stubs know no `trans` that is computed
        count, rows, classes = self.shape
        given = flat.reshape(self.shape)
        solved = np.empty(self.shape)
        slopes = given[:, :-1].transpose(1, 0, 2).reshape(rows - 1, -1)
        solved_slopes = solve(self.root, slopes, lower=True, trans=int(transposed), check_finite=False)
        solved[:, :-1] = solved_slopes.reshape(rows - 1, count, classes).transpose(1, 0, 2)
        solved[:, -1] = given[:, -1] / self.intercept
        return solved.ravel()


def _coordinates(folds: _Folds, parts: Parts) -> _Coordinates:
    """Return the coordinates for the folds' problems, after a pass over the features for their covariance.

    A class' slopes have the second derivative p (1 - p) covariance + penalty, where p is the class' probability: here
    that of weights 0, and the features of all folds together.
    """
    shares = folds.fitted / folds.fitted.sum()
    mean, scale = shares @ folds.mean, shares @ folds.scale
    covariance, count = np.zeros((len(mean), len(mean))), 0
    for _, vectors in parts():
        standard = ((vectors - mean) / scale).astype(np.float32)
        covariance += standard.T @ standard
        count += len(vectors)
    curvature = (1 - 1 / folds.shape[2]) / folds.shape[2]
    second = curvature * covariance / count
    second[np.diag_indices_from(second)] += max(float(folds.penalty.mean()), _LEAST_PENALTY)
    return _Coordinates(np.linalg.cholesky(second), curvature**0.5, folds.shape)


def _on_features(folds: _Folds, weights: Floats) -> tuple[Floats, Floats]:
    """Return slopes (width, folds * classes) and intercepts (folds, classes) for features as they are."""
    slopes = weights[:, :-1] / folds.scale[:, :, None]
    intercepts = weights[:, -1] - np.einsum("kd,kdc->kc", folds.mean, slopes)
    return slopes.transpose(1, 0, 2).reshape(folds.mean.shape[1], -1), intercepts


def _logits(folds: _Folds, vectors: Floats, slopes: Floats, intercepts: Floats) -> Floats:
    """Return every model's logits, (m, folds, classes); -inf for a class that it never saw."""
    count, _, classes = folds.shape
    logits = (vectors @ slopes.astype(np.float32)).astype(np.float64).reshape(-1, count, classes) + intercepts
    return np.where(folds.seen, logits, -np.inf)


def _log_softmax(logits: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # no class was seen at all
        shifted = logits - logits.max(axis=-1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _loss(folds: _Folds, parts: Parts, values: Floats) -> tuple[float, Floats]:
    """Return the sum of the folds' functions at the weights `values`, and its gradient, in one row both."""
    count, _, classes = folds.shape
    weights = values.reshape(folds.shape)
    slopes, intercepts = _on_features(folds, weights)
    loss, by_slope, by_intercept = 0.0, np.zeros(slopes.shape), np.zeros(intercepts.shape)
    for part, vectors in parts():
        logs = _log_softmax(_logits(folds, vectors, slopes, intercepts))
        share = (folds.fold[part][:, None] != np.arange(count)) / folds.fitted  # of each vector, in each model's mean
        given = folds.labels[part][:, None, None]
        own = np.take_along_axis(logs, np.broadcast_to(given, (len(logs), count, 1)), axis=2)[..., 0]
        loss -= float((own[share > 0] * share[share > 0]).sum())
        residual = np.exp(logs) - (given == np.arange(classes))
        residual = np.where(share[..., None] > 0, residual * share[..., None], 0.0)
        by_slope += vectors.T @ residual.reshape(len(logs), -1).astype(np.float32)
        by_intercept += residual.sum(axis=0)
    gradient = np.empty(folds.shape)
    each = by_slope.reshape(-1, count, classes).transpose(1, 0, 2) - folds.mean[:, :, None] * by_intercept[:, None]
    gradient[:, :-1] = each / folds.scale[:, :, None] + folds.penalty[:, None, None] * weights[:, :-1]
    gradient[:, -1] = by_intercept
    penalty = (folds.penalty * (weights[:, :-1] ** 2).sum(axis=(1, 2))).sum() / 2
    return loss + float(penalty), gradient.ravel()
