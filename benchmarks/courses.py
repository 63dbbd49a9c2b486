"""Compare courses of fine-tuning, from the head's model of the current project.

    python benchmarks/courses.py --seeds 1 2 3 --truth truth.csv \
      --course recipe= --course frozen='{"batchnorm": "frozen", "epochs": 8}'

Run it in a project folder after `dvc repro train`. A course is a name and what it changes of `finetune` in params.yaml,
as JSON; a seed changes dropout, order and augmentation, not the head. Prints a line a training (macro recalls in per
cent, CPU seconds), then means over the seeds: test before and after, the standard deviation and least gain, validation.
With `--truth` (a csv of path, true_label; its paths are those of the scrape) also by the true labels of the test set.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core import paths, tables
from pipeline.evaluation.recall import confusion, epoch_metrics, per_class
from pipeline.model import determinism, network, rebuild
from pipeline.params.root import Params, load_params, parse_params
from pipeline.training import packed_records
from pipeline.training.batches import Source
from pipeline.training.finetuning import finetune
from pipeline.training.validation_batches import Validation


def course(text: str) -> tuple[str, dict[str, Any]]:
    """Return a course's name and changes of NAME=JSON."""
    name, _, changes = text.partition("=")
    return name, json.loads(changes or "{}")


def true_labels(truth: Path, names: tuple[str, ...]) -> np.ndarray:
    """Return the true label of each test picture, as an index into `names`, in the order of build/packed/; (n)."""
    sightings = pd.concat(
        pd.read_parquet(path, columns=["sha256", "origin"]) for path in sorted(paths.SIGHTINGS.iterdir())
    )
    table = sightings.merge(pd.read_csv(truth, keep_default_na=False), left_on="origin", right_on="path")
    labels = dict(zip(table["sha256"], table["true_label"], strict=True))
    files = packed_records.packed_files(paths.PACKED, "test")
    rows = [
        sha for _, _, batch in packed_records.pictures(files, load_params().backbone.size, 128) for sha in batch.numpy()
    ]
    return np.array([names.index(labels[sha.decode()]) for sha in rows])


def macro(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the macro recall in per cent."""
    classes = probabilities.shape[1]
    return float(100 * np.nanmean(per_class(confusion(truth, probabilities.argmax(axis=1), classes))[0]))


def train(params: Params, labels: np.ndarray, train_set: Source, val: Validation) -> tuple[Any, Any, float]:
    """Return the head's model before and after fine-tuning, and the best epoch (from 1; 0 is the start)."""
    determinism.seed(params.seed)
    head = paths.HEAD / paths.MODEL_FILE
    model = rebuild.trainable_model(network.load(head), params)
    best = finetune(
        model, train_set, labels, val, params, lambda _epoch, _metrics: None, report_start=lambda _metrics: None
    )
    return network.load(head), model, best["epoch"] + 1


def main() -> None:
    """Train every course with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--course", dest="courses", type=course, action="append", required=True, metavar="NAME=JSON")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--truth", type=Path, metavar="CSV")
    options = parser.parse_args()
    document, names = load_params().model_dump(mode="json", by_alias=True), load_params().labels.names
    splits = tables.read_parquet(paths.SPLITS, ["split", "label"])
    counts, size = splits["split"].value_counts(), load_params().backbone.size
    files = {split: packed_records.packed_files(paths.PACKED, split) for split in ("train", "val", "test")}
    labels = splits.loc[splits["split"] == "train", "label"].map(names.index).to_numpy()
    train_set = Source.open(files["train"], len(labels), size, load_params().finetune.memory_mb)
    val, test = (Validation(files[split], int(counts[split]), size, 1024) for split in ("val", "test"))
    truth = {"test": test.truth} | ({} if options.truth is None else {"true labels": true_labels(options.truth, names)})
    rows = []
    for name, changes in options.courses:
        for seed in options.seeds:
            params = parse_params(document | {"seed": seed, "finetune": document["finetune"] | changes})
            began = time.process_time()
            before, after, epoch = train(params, labels, train_set, val)
            row = {"course": name, "seed": seed, "best epoch": int(epoch), "CPU s": round(time.process_time() - began)}
            row |= {f"{key}, frozen": macro(test.predict(before), labels) for key, labels in truth.items()}
            row |= {key: macro(test.predict(after), labels) for key, labels in truth.items()}
            row["val"] = (
                100 * epoch_metrics(val.predict(after), val.truth, names, params.labels.unsafe)["val_macro_recall"]
            )
            rows.append(row | {"gain": row["test"] - row["test, frozen"]})
            shown = {key: round(value, 1) if isinstance(value, float) else value for key, value in rows[-1].items()}
            print(json.dumps(shown), flush=True)
    groups = pd.DataFrame(rows).drop(columns="seed").groupby("course", sort=False)
    shown = groups.mean()
    shown.insert(0, "sd", groups["test"].std())
    shown.insert(0, "least gain", groups["gain"].min())
    print(shown.round(1).to_markdown())


if __name__ == "__main__":
    main()
