"""A cache of features, so that only new pictures are embedded; they are the same bytes that a new run computes.

.cache/embeddings/<recipe>/<sha256 of the file>.npz holds rows of `key` (m), `view` (m) and `features` float16 (m, d).
Files are added and never changed. A file whose digest is not its name is deleted, and its rows are embedded again. A
key is a digest of a picture's sha256 and packed bytes; a recipe, one of everything else that features depend on.
"""

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipeline.core import code_digests, files
from pipeline.params.root import Params
from pipeline.training import feature_extraction
from pipeline.training.embeddings import write_index
from pipeline.training.feature_shards import HALF, FeatureWriter

RETAINED_RECIPES = 3
_PART_BYTES = 32 * 2**20  # of features in a file: the most that a killed run loses

_log = logging.getLogger(__name__)


class EmbeddingCache:
    """The rows of one recipe on disk."""

    def __init__(self, root: Path, recipe: str) -> None:
        """Open a recipe's folder under `root`; delete all but the three that were used last, this one included."""
        self.folder = root / recipe
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.touch()
        others = [folder for folder in root.iterdir() if folder.is_dir() and folder != self.folder]
        others.sort(key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
        for old in others[RETAINED_RECIPES - 1 :]:
            shutil.rmtree(old, ignore_errors=True)

    def copy_to(self, writer: FeatureWriter, keys: Sequence[str]) -> np.ndarray:
        """Write the cached vectors of `keys` (n) as rows of `writer`, a file of the cache at a time.

        Returns bool (views, n): which vectors are missing.
        """
        views = writer.shape[0]
        missing = np.ones((views, len(keys)), bool)
        row_of = {key: row for row, key in enumerate(keys)}
        for key, view, cached in filter(None, map(_read, sorted(self.folder.glob("*.npz")))):
            row = np.array([row_of.get(name.decode(), -1) for name in key.tolist()], int)
            use = (row >= 0) & (view < views)
            writer.put(row[use], view[use], cached[use])
            missing[view[use], row[use]] = False
        return missing

    def add(self, keys: Sequence[str], views: Sequence[int], features: np.ndarray) -> None:
        """Write one new file: `features` (m, d) of `keys` (m) in `views` (m)."""
        buffer = io.BytesIO()
        key = np.array([name.encode() for name in keys])
        np.savez(buffer, key=key, view=np.array(views, np.int64), features=np.asarray(features, HALF))
        data = buffer.getbuffer()
        with files.atomic(self.folder / f"{hashlib.sha256(data).hexdigest()}.npz") as temporary:
            temporary.write_bytes(data)


@dataclass
class _Unsaved:
    """Vectors that are not in the cache yet."""

    keys: list[str] = field(default_factory=list)
    views: list[int] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    size: int = 0

    def add(self, keys: Sequence[str], view: int, vectors: np.ndarray) -> None:
        self.keys += keys
        self.views += [view] * len(keys)
        self.vectors.append(vectors)
        self.size += vectors.nbytes

    def save(self, cache: EmbeddingCache) -> None:
        if self.keys:
            cache.add(self.keys, self.views, np.concatenate(self.vectors))
        self.keys, self.views, self.vectors, self.size = [], [], [], 0


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return a file's key, view and features, or None if it is damaged or gone."""
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == path.stem:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return arrays["key"], arrays["view"], arrays["features"]
        path.unlink()
        reason = "is damaged, and deleted"
    except OSError as error:
        reason = f"is not readable ({error})"
    _log.warning("%s %s: what it held is embedded again.", path, reason)
    return None


def recipe(model: Any, params: Params) -> str:
    """Return a digest of everything except the picture that the features of a view depend on.

    That is the network's layers and weights; the features that it gives for one batch of noise, because processors
    round differently; the augmentation; and the code.
    """
    settings = [params.augment.model_dump(), params.seed, params.embed.batch_size]
    versions = [keras.__version__, tf.__version__, np.__version__]
    digest = hashlib.sha256(json.dumps([settings, versions, model.to_json()]).encode())
    digest.update(code_digests.digest("pipeline.training.embedding_cache").encode())
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    shape = (params.embed.batch_size, params.backbone.size, params.backbone.size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    contents = [f"{number:064x}" for number in range(len(noise))]
    digest.update(feature_extraction.compute_features(model, noise, contents, 1, params).tobytes())
    return digest.hexdigest()


def embed(model: Any, packed: Sequence[str], params: Params, cache: EmbeddingCache, folder: Path) -> int:
    """Write the features of a split's pictures, clean and in augmented views; return how many pictures there are.

    They come from the cache, or are newly computed.

    Args:
        model: from 0..255 pixels to features, as `network.embedder` makes it.
        packed: the split's files.
        params: seed, backbone, augment, embed.
        cache: of `recipe(model, params)`.
        folder: where they are written, as embeddings.py reads them; its name is on the progress bar.

    Raises:
        UserError: a feature is no finite number of float16's range.

    """
    listed = [feature_extraction.rows_of(file) for file in packed]
    contents = [content for rows in listed for content in rows.contents]
    keys = [key for rows in listed for key in rows.keys]
    writer = FeatureWriter(folder, (1 + params.embed.views, len(keys), model.output_shape[-1]))
    missing = cache.copy_to(writer, keys)
    new = int(missing.any(axis=0).sum())
    unsaved = _Unsaved()
    try:
        with tqdm(total=new, desc=f"embed {folder.name}: {new} of {len(keys)} new", disable=None, leave=False) as bar:
            for part in feature_extraction.extract(model, feature_extraction.parts(listed, missing), params):
                writer.put(part.rows, part.view, part.vectors)
                lacking = missing[part.view, part.rows]
                unsaved.add([keys[row] for row in part.rows[lacking]], part.view, part.vectors[lacking])
                if part.is_last and unsaved.size >= _PART_BYTES:
                    unsaved.save(cache)
                bar.update(len(part.rows) if part.is_last else 0)
    finally:  # also of an interrupted run, which then continues from there
        unsaved.save(cache)
    writer.finish()
    write_index(folder, contents, np.concatenate([rows.labels for rows in listed]))
    return len(contents)
