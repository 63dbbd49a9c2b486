"""Compute the frozen backbone's features of every packed picture, clean and in augmented views.

Reads   build/packed/
Writes  build/embeddings/{train,val,test}/
Keeps   .cache/embeddings/: features by content, so that only new pictures are embedded
Run     dvc repro embed
"""

import logging
from typing import Any

from pipeline.core import paths
from pipeline.core.backbone_table import FEATURES_FILE
from pipeline.model import determinism, network
from pipeline.model.features_file import FeaturesFile
from pipeline.params.root import Params, load_params
from pipeline.training import embedding_cache, packed_records

_log = logging.getLogger(__name__)


def embedder(params: Params) -> Any:
    """Return what computes the features: the frozen backbone, or the file of features that params.yaml names."""
    if params.backbone.name == FEATURES_FILE:
        return FeaturesFile.open(params.backbone)
    return embedding_cache.make_row_independent(network.embedder(params.backbone), params.embed.batch_size)


def main() -> None:
    """Embed the packed pictures."""
    params = load_params()
    determinism.seed(params.seed)
    model = embedder(params)
    cache = embedding_cache.EmbeddingCache(paths.EMBEDDINGS_CACHE, embedding_cache.recipe(model, params))
    pictures = 0
    for split in ("train", "val", "test"):
        packed = packed_records.packed_files(paths.PACKED, split)
        pictures += len(embedding_cache.embed(model, packed, params, cache, paths.EMBEDDINGS / split))
    _log.info("embed: %d pictures, each as it is and in %d views", pictures, params.embed.views)
