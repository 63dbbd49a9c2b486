"""Run the frozen backbone once over every packed picture, and over augmented views of it: the audit takes those of all.

Reads   build/packed/
Writes  build/embeddings/{train,val,test}.npz
Keeps   .cache/embeddings/: features by content, so that a new picture costs its own embedding
Run     dvc repro embed
"""

import logging

from pipeline import paths
from pipeline.model import embedding_cache, network, records, reproducible
from pipeline.params import load_params

_log = logging.getLogger(__name__)


def main() -> None:
    """Embed the packed pictures."""
    params = load_params()
    reproducible.seed(params.seed)
    model = embedding_cache.steady(network.embedder(params.backbone), params.embed.batch_size)
    cache = embedding_cache.EmbeddingCache(paths.EMBEDDINGS_CACHE, embedding_cache.recipe(model, params))
    pictures = 0
    for split in ("train", "val", "test"):
        packed = records.packed_files(paths.PACKED, split)
        embedded = embedding_cache.embed(model, packed, params, cache, split)
        embedded.save(paths.EMBEDDINGS / f"{split}.npz")
        pictures += len(embedded.label)
    _log.info("embed: %d pictures, each as it is and in %d views", pictures, params.embed.views)
