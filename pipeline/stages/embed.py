"""Run the frozen backbone once over every packed picture, and over augmented views of it.

Reads   build/packed/
Writes  build/embeddings/{train,val,test}.npz
Run     dvc repro embed
"""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline import paths
from pipeline.model import augment, network, records, reproducible, views
from pipeline.model.embeddings import Embeddings
from pipeline.params import Params, load_params


def embed(model: Any, packed: list[str], params: Params, name: str) -> Embeddings:
    """Return the features of a split's pictures, as they are and in augmented views (the audit takes those of all)."""
    size, features, sha256, labels = params.backbone.size, [], [], []
    for pictures, label, content in tqdm(
        records.pictures(packed, size, params.embed.batch_size), desc=f"embed {name}", unit="batch", disable=None
    ):
        contents = [value.decode() for value in content.numpy()]
        seen = [pictures]
        for view in range(1, params.embed.views + 1):
            draws = views.draw_views(contents, view, params.augment, size, params.seed)
            seen.append(augment.apply(pictures, *draws))
        features.append(np.stack([model.predict_on_batch(batch) for batch in seen]))
        sha256.extend(contents)
        labels.append(label.numpy())
    return Embeddings(np.concatenate(features, axis=1), np.array(sha256), np.concatenate(labels))


def main() -> None:
    """Embed the packed pictures."""
    params = load_params()
    reproducible.seed(params.seed)
    model = network.embedder(params.backbone)
    for split in ("train", "val", "test"):
        packed = records.packed_files(Path(paths.PACKED), split)
        embed(model, packed, params, split).save(paths.EMBEDDINGS / f"{split}.npz")
