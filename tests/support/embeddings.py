"""Embeddings made of arrays, in memory and on disk."""

from pathlib import Path

import numpy as np

from pipeline.training.embeddings import Embeddings, write_index
from pipeline.training.feature_shards import FeatureWriter, to_half


def in_memory(vectors: np.ndarray) -> Embeddings:
    """Embeddings of vectors (n, width) or (views, n, width), of unnamed pictures."""
    views = vectors if vectors.ndim == 3 else vectors[None]
    names = np.array([f"{row:064x}" for row in range(views.shape[1])], dtype="U64")
    return Embeddings.of_array(views, names, np.zeros(views.shape[1], np.int64))


def write(folder: Path, vectors: np.ndarray, sha256: list[str], label: list[int]) -> None:
    """Write vectors (views, n, width) as stage `embed` does."""
    writer = FeatureWriter(folder, vectors.shape)
    for view, each in enumerate(vectors):
        writer.put(np.arange(len(each)), view, to_half(each))
    writer.finish()
    write_index(folder, sha256, label)


def read(embeddings: Embeddings) -> np.ndarray:
    """All vectors, (views, n, width)."""
    rows = np.arange(len(embeddings))
    return np.stack([embeddings.take(rows, view) for view in range(embeddings.views)])
