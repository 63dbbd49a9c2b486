"""Compute the frozen backbone's features of every packed picture, clean and in augmented views.

Reads   build/packed/
Writes  build/embeddings/{train,val,test}/
Keeps   .cache/embeddings/: features by content, so that only new pictures are embedded
Run     dvc repro embed
"""

import logging

from pipeline.core import paths
from pipeline.model import determinism
from pipeline.params.root import load_params
from pipeline.training import embedding_cache, feature_extraction, packed_records

_log = logging.getLogger(__name__)


def main() -> None:
    """Embed the packed pictures."""
    params = load_params()
    determinism.seed(params.seed)
    model = feature_extraction.embedder(params)
    cache = embedding_cache.EmbeddingCache(paths.EMBEDDINGS_CACHE, embedding_cache.recipe(model, params))
    pictures = 0
    for split in ("train", "val", "test"):
        packed = packed_records.packed_files(paths.PACKED, split)
        pictures += embedding_cache.embed(model, packed, params, cache, paths.EMBEDDINGS / split)
    _log.info("embed: %d pictures, each as it is and in %d views", pictures, params.embed.views)
