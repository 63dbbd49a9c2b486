"""What float16 costs: the head trained on features of full and of half precision, from the same pictures and seeds.

Run     python benchmarks/half_precision.py [--seeds 1 2 3]
Expect  differences far below those between seeds, and the same order of suspicious labels.

Run it in a project folder after `dvc repro embed`. It computes the features anew in float32, and rounds a copy as
stage `embed` does. Prints the macro recall on test (per cent) of each seed and precision, last a line of JSON.
"""

import argparse
import json

import numpy as np

from pipeline.core import paths, tables
from pipeline.core.backbone_table import FEATURES_FILE
from pipeline.evaluation.label_issues import out_of_fold
from pipeline.evaluation.recall import confusion, per_class
from pipeline.model import determinism, network
from pipeline.params.root import Params, load_params
from pipeline.training import feature_extraction, packed_records
from pipeline.training.embeddings import Embeddings
from pipeline.training.head import predict, train_head

SPLITS = ("train", "val", "test")


def full_precision(model: object, split: str, params: Params) -> Embeddings:
    """Return a split's features in float32, clean and in augmented views."""
    packed = packed_records.packed_files(paths.PACKED, split)
    index = Embeddings.load(paths.EMBEDDINGS / split)
    vectors = np.empty((index.views, len(index), index.width), np.float32)
    for rows, pictures in feature_extraction.read_pictures(packed, np.ones(len(index), bool), params):
        for view in range(index.views):
            names = index.sha256[rows].tolist()
            vectors[view, rows] = feature_extraction.compute_features(model, pictures, names, view, params)
    return Embeddings.of_array(vectors, index.sha256, index.label)


def halved(embeddings: Embeddings) -> Embeddings:
    """Return the features rounded to float16."""
    rows = np.arange(len(embeddings))
    vectors = np.stack([embeddings.take(rows, view) for view in range(embeddings.views)]).astype(np.float16)
    return Embeddings.of_array(vectors, embeddings.sha256, embeddings.label)


def recall(splits: dict[str, Embeddings], params: Params) -> float:
    """Train the head and return its macro recall on test, in per cent."""
    determinism.seed(params.seed)
    classes = len(params.labels.names)
    head = network.head(splits["train"].width, classes, params.train, params.seed)
    train_head(head, splits["train"], splits["val"], params, lambda _epoch, _metrics: None)
    test = splits["test"]
    return float(100 * np.nanmean(per_class(confusion(test.label, predict(head, test).argmax(axis=1), classes))[0]))


def suspicions(splits: dict[str, Embeddings], params: Params) -> np.ndarray:
    """Return each picture's probability of its given label, as `audit` has it."""
    joined = Embeddings.join(list(splits.values()))
    clusters = tables.read_parquet(paths.SPLITS).set_index("sha256")["cluster"].loc[joined.sha256.tolist()]
    views = min(joined.views, 1 + params.audit.views)
    probabilities = out_of_fold(
        joined,
        joined.label,
        clusters.to_numpy(),
        classes=len(params.labels.names),
        folds=params.audit.folds,
        seed=params.seed,
        views=views,
    )
    return np.asarray(probabilities[np.arange(len(joined)), joined.label])


def main() -> None:
    """Print a line a seed, then the audits' agreement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    params = load_params()
    if params.backbone.name == FEATURES_FILE:
        parser.error("a features file's own precision is not known here")
    model = feature_extraction.make_row_independent(network.embedder(params.backbone), params.embed.batch_size)
    full = {split: full_precision(model, split, params) for split in SPLITS}
    half = {split: halved(embeddings) for split, embeddings in full.items()}
    scores: dict[str, list[float]] = {"float32": [], "float16": []}
    for seed in options.seeds:
        seeded = params.model_copy(update={"seed": seed})
        scores["float32"].append(round(recall(full, seeded), 2))
        scores["float16"].append(round(recall(half, seeded), 2))
        print(f"seed {seed}: float32 {scores['float32'][-1]}, float16 {scores['float16'][-1]}", flush=True)
    of_full, of_half = (suspicions(each, params) for each in (full, half))
    first = len(of_full) // 20
    common = np.intersect1d(np.argsort(of_full)[:first], np.argsort(of_half)[:first])
    print(json.dumps(scores | {"first_rows": first, "in_both": len(common)}))


if __name__ == "__main__":
    main()
