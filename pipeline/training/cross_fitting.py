"""What fine-tuned models say of each picture's classes: models that never saw it, and models that learned its label.

Wrong labels differ from hard pictures in both. A model that was fitted without a picture contradicts its wrong label
(out-of-fold predictions: Northcutt et al. 2021, "Confident Learning"); one that was fitted with it learns a wrong label
late (training dynamics: Pleiss et al. 2020, "Identifying Mislabeled Data using the Area Under the Margin Ranking").
So the log-probabilities of both are averaged, over the second half of the epochs, at equal weights.
"""

import hashlib
import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.evaluation.recall import epoch_metrics
from pipeline.params.root import Params
from pipeline.training import both_stages, packed_records
from pipeline.training.batches import Source
from pipeline.training.embeddings import Embeddings
from pipeline.training.validation_batches import Validation

_SMALLEST = 1e-6  # probability: a logarithm below it would outweigh all other epochs

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures: their packed files, and their embeddings in the order of these files."""

    packed: tuple[str, ...]
    embeddings: Embeddings

    @classmethod
    def open(cls, packed: Sequence[str], embeddings: Embeddings) -> "Pictures":
        """Check that both hold the same pictures in the same order.

        Raises:
            UserError: they do not.

        """
        stored = [packed_records.picture_sha256(row) for row in packed_records.read(packed).as_numpy_iterator()]
        if stored != embeddings.sha256.tolist():
            raise UserError("build/packed and build/embeddings differ in their pictures. Run `dvc repro embed`.")
        return cls(tuple(packed), embeddings)


@dataclass
class _LateEpochs:
    """The log-probabilities of the second half of a training's epochs."""

    first: int
    latest: np.ndarray | None = None
    by_epoch: dict[int, np.ndarray] = field(default_factory=dict)

    def measure(
        self, probabilities: np.ndarray, truth: np.ndarray, names: Sequence[str], unsafe: Collection[str]
    ) -> dict[str, float]:
        """Return `epoch_metrics`, which fit needs, and remember the probabilities."""
        self.latest = np.log(np.maximum(probabilities, _SMALLEST)).astype(np.float32)
        return epoch_metrics(probabilities, truth, names, unsafe)

    def report(self, epoch: int, _metrics: Mapping[str, float]) -> None:
        """Keep what was measured last, if the epoch is a late one; an epoch that is repeated counts once."""
        if epoch >= self.first and self.latest is not None:
            self.by_epoch[epoch] = self.latest

    def mean(self) -> np.ndarray:
        """Return the mean over the epochs, shape (n, classes)."""
        return np.asarray(np.mean([self.by_epoch[epoch] for epoch in sorted(self.by_epoch)], axis=0))


def probabilities(
    pictures: Pictures, folds: Sequence[tuple[np.ndarray, np.ndarray]], params: Params, cache: Path
) -> np.ndarray:
    """Return each picture's class probabilities, shape (n, classes), rows adding up to 1.

    The geometric mean of two: of the model fitted without the picture, and of all models fitted with it.

    Args:
        pictures: All labelled pictures.
        folds: (rows to fit, rows to judge) of each model; every row is judged at least once.
        params: labels, backbone, augment, train, finetune, seed.
        cache: A folder for finished trainings, whose name tells everything that they depend on; a killed stage goes on.

    """
    classes = len(params.labels.names)
    size = len(pictures.embeddings)
    without, learned = np.zeros((size, classes)), np.zeros((size, classes))
    judgements, fits = np.zeros((size, 1)), np.zeros((size, 1))
    for number, (fitted, judged) in enumerate(folds):
        logs = _cached(cache / f"fold-{number:02d}.npz", pictures, fitted, params, number, len(folds))
        without[judged] += logs[judged]
        learned[fitted] += logs[fitted]
        judgements[judged] += 1
        fits[fitted] += 1
    combined = np.exp((without / judgements + learned / np.maximum(fits, 1)) / 2)
    return np.asarray(combined / combined.sum(axis=1, keepdims=True))


def _cached(path: Path, pictures: Pictures, fitted: np.ndarray, params: Params, number: int, total: int) -> np.ndarray:
    digest = hashlib.sha256(fitted.astype(np.int64).tobytes()).hexdigest()
    if (known := _read(path, digest)) is not None:
        return known
    _log.info("cross_fit: training %d of %d, on %d pictures", number + 1, total, len(fitted))
    logs = _train(pictures, fitted, params.model_copy(update={"seed": params.seed + number}), path.parent)
    with files.atomic(path) as temporary, temporary.open("wb") as opened:
        np.savez(opened, logs=logs, fitted=np.array(digest))
    return logs


def _read(path: Path, digest: str) -> np.ndarray | None:
    """Return a finished training's log-probabilities; None if there are none, or of other pictures."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays["logs"]) if str(arrays["fitted"]) == digest else None
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 -- NumPy lists none: zipfile, zlib or the disk raise their own
        _log.warning("cross_fit: %s is damaged (%s) and made anew", path, error)
        return None


def _train(pictures: Pictures, fitted: np.ndarray, params: Params, folder: Path) -> np.ndarray:
    """Return the mean log-probabilities of all pictures, from a model fitted on some of them."""
    subset = folder / "fitted.tfrecord"
    chosen = np.zeros(len(pictures.embeddings), bool)
    chosen[fitted] = True
    rows = packed_records.read(pictures.packed).as_numpy_iterator()
    packed_records.copy(subset, (row for row, wanted in zip(rows, chosen, strict=True) if wanted))
    size, memory_mb = params.backbone.size, params.finetune.memory_mb
    every = Validation(pictures.packed, len(chosen), size, memory_mb)
    data = both_stages.Data(
        head_train=pictures.embeddings.select(chosen),
        head_val=pictures.embeddings.select(~chosen),
        train=Source.open([str(subset)], int(chosen.sum()), size, memory_mb),
        labels=pictures.embeddings.label[chosen],
        val=every,
    )
    epochs = params.finetune.epochs
    late = _LateEpochs(first=epochs // 2)
    whole = params.model_copy(update={"finetune": params.finetune.model_copy(update={"patience": None})})
    both_stages.train(whole, data, late.report, measure=late.measure)
    subset.unlink()
    return late.mean()


def forget_others(folder: Path) -> None:
    """Delete the caches beside `folder`: of other params, data or code."""
    for each in sorted(folder.parent.iterdir()):
        if each.is_dir() and each != folder:
            shutil.rmtree(each, ignore_errors=True)
