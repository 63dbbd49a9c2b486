"""How the audit of labels by features grows: time, CPU and peak memory for ever more pictures, each size in a process.

Run     python benchmarks/audit_growth.py [--sizes 30000 100000 300000] [--width 1280] [--views 1] [--peer 10000]
Expect  memory far below that of the features, and time that grows about as the number of pictures does.

Features are drawn: five classes with directions of their own, each view noisy, 4 % of the labels wrong; written and
read as stages `embed` and `audit` do. `--peer`: at this size scikit-learn's LogisticRegression is fitted fold by fold,
too, as the audit did before. Prints a line a size, last a line of JSON with the exponent between the smallest and the
largest.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

CLASSES, FOLDS, C = 5, 5, 0.03


def write(folder: Path, pictures: int, width: int, views: int) -> None:
    """Write drawn features, a part at a time."""
    from pipeline.training.embeddings import write_index
    from pipeline.training.feature_shards import FeatureWriter, to_half

    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1.0, (CLASSES, width)).astype(np.float32)
    labels = rng.integers(0, CLASSES, pictures)
    writer = FeatureWriter(folder, (views, pictures, width))
    for start in range(0, pictures, 4096):
        rows = np.arange(start, min(pictures, start + 4096))
        own = centres[labels[rows]] * 0.1 + rng.normal(0, 1, (len(rows), width)).astype(np.float32)
        for view in range(views):
            noise = rng.normal(0, 0.2, own.shape).astype(np.float32) if view else 0
            writer.put(rows, view, to_half(own + noise))
    writer.finish()
    wrong = rng.random(pictures) < 0.04
    given = np.where(wrong, (labels + 1) % CLASSES, labels)
    write_index(folder, [f"{row:064x}" for row in range(pictures)], given)
    np.save(folder / "wrong.npy", wrong)


def audit(folder: Path, views: int, answer: multiprocessing.Queue, *, peer: bool) -> None:
    """Judge all labels; answer with seconds, CPU seconds, peak MiB and the share of wrong ones in the first rows."""
    from pipeline.evaluation import label_quality
    from pipeline.evaluation.label_issues import out_of_fold
    from pipeline.training.embeddings import Embeddings

    embeddings, wrong = Embeddings.load(folder), np.load(folder / "wrong.npy")
    groups = np.arange(len(embeddings))
    began, cpu = time.perf_counter(), time.process_time()
    if peer:
        probabilities = fold_by_fold(embeddings, views)
    else:
        probabilities = out_of_fold(
            embeddings, embeddings.label, groups, classes=CLASSES, folds=FOLDS, seed=1, views=views
        )
    judged = time.perf_counter() - began, time.process_time() - cpu
    if not peer:
        label_quality.neighbours(embeddings, groups)
    first = np.argsort(probabilities[groups, embeddings.label])[: int(1.5 * wrong.sum())]
    answer.put(
        {
            "judge_s": round(judged[0], 1),
            "judge_cpu_s": round(judged[1], 1),
            "neighbours_s": round(time.perf_counter() - began - judged[0], 1),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "wrong_in_first_rows": round(float(wrong[first].sum() / wrong.sum()), 3),
        }
    )


def fold_by_fold(embeddings: object, views: int) -> np.ndarray:
    """Return what scikit-learn's classes give, with all features in memory."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from pipeline.evaluation.folds import grouped_folds

    rows = np.arange(len(embeddings.label))
    every = np.stack([embeddings.take(rows, view) for view in range(views)])
    probabilities = np.empty((len(rows), CLASSES))
    for fitted, judged in grouped_folds(embeddings.label, rows, FOLDS, 1):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=500))
        model.fit(np.concatenate(list(every[:, fitted])), np.tile(embeddings.label[fitted], views))
        probabilities[judged] = np.mean([model.predict_proba(view[judged]) for view in every], axis=0)
    return probabilities


def measured(pictures: int, width: int, views: int, *, peer: bool = False) -> dict[str, float]:
    """Return one size's figures, from a process of its own."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, pictures, width, views)
        answer = context.Queue()
        process = context.Process(target=audit, args=(folder, views, answer), kwargs={"peer": peer})
        process.start()
        figures: dict[str, float] = answer.get()
        process.join()
    return {"pictures": pictures, "features_mb": round(4e-6 * pictures * width * views)} | figures


def main() -> None:
    """Print a line a size, and last a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[30_000, 100_000, 300_000])
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--peer", type=int)
    options = parser.parse_args()
    rows = []
    for size in options.sizes:
        rows.append(measured(size, options.width, options.views))
        print(json.dumps(rows[-1]), flush=True)
    result = {}
    if len(rows) > 1:
        few, many = rows[0], rows[-1]
        spent = [row["judge_s"] + row["neighbours_s"] for row in (few, many)]
        result["exponent"] = round(float(np.log(spent[1] / spent[0]) / np.log(many["pictures"] / few["pictures"])), 2)
    if options.peer:
        ours, peer = (measured(options.peer, options.width, options.views, peer=each) for each in (False, True))
        print(json.dumps({"peer": peer}))
        result |= {"of_peers_cpu": round(ours["judge_cpu_s"] / peer["judge_cpu_s"], 2)}
        result |= {"of_peers_memory": round(ours["peak_mb"] / peer["peak_mb"], 2)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
