import json

import numpy as np
import pytest
import yaml

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import read_json
from pipeline.model import network
from pipeline.params.root import load_params
from pipeline.stages import train
from pipeline.tracking.run_record import RunRecord
from pipeline.training.embeddings import Embeddings
from tests.support import embeddings

pytestmark = pytest.mark.untraced

NAMES = ("drawings", "neutral", "porn")
METRICS = {
    *("loss", "learning_rate", "val_loss", "val_accuracy", "val_macro_recall"),
    *(f"val_{kind}/{name}" for kind in ("recall", "precision") for name in NAMES),
    *("val_unsafe_recall", "val_unsafe_precision"),
}


def epochs(record: RunRecord) -> list[dict[str, float]]:
    return [line["metrics"] for line in record.metrics() if line["epoch"] is not None]


def best(lines: list[dict[str, float]]) -> int:
    return max(range(len(lines)), key=lambda k: (lines[k]["val_macro_recall"], -lines[k]["val_loss"], -k))


def test_every_epoch_is_in_the_record(in_project):
    record = RunRecord.load(paths.HEAD)
    assert (record.status, record.kind) == ("FINISHED", "train")
    assert [line["epoch"] for line in record.metrics()] == [0, 1, 2, None]
    for line in epochs(record):
        # A class that is never called has no precision.
        assert line.keys() | {f"val_precision/{name}" for name in NAMES} | {"val_unsafe_precision"} == METRICS
        recalls = [line[f"val_recall/{name}"] for name in NAMES]
        assert line["val_macro_recall"] == pytest.approx(np.mean(recalls))
        assert line["learning_rate"] == pytest.approx(load_params().train.learning_rate)
        assert line["loss"] > 0
    assert {file.name for file in (paths.HEAD / "artifacts").iterdir()} >= {"confusion_val.png", "curves.png"}


def test_the_record_tells_what_it_was_made_from(in_project):
    document = RunRecord.load(paths.HEAD).document
    assert [entry["name"] for entry in document["inputs"]] == ["build/splits.parquet", "build/embeddings"]
    assert document["params"]["train.dropout"] == [0.5, 0.25]
    assert document["params"]["embed.views"] == 1
    assert "finetune.epochs" not in document["params"]


def test_the_model_is_the_best_epochs_from_pixels_on(in_project):
    record, params = RunRecord.load(paths.HEAD), load_params()
    lines = epochs(record)
    summary = record.metrics()[-1]["metrics"]
    assert summary["best_epoch"] == best(lines)
    assert summary["best_val_macro_recall"] == max(line["val_macro_recall"] for line in lines)
    model = network.load(paths.HEAD / "model.keras")
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 3))
    val = Embeddings.load(paths.EMBEDDINGS / "val")
    answers = model.get_layer("head")(embeddings.read(val)[0], training=False).numpy()
    recall = [(answers[val.label == k].argmax(axis=1) == k).mean() for k in range(3)]
    assert np.mean(recall) == pytest.approx(lines[best(lines)]["val_macro_recall"])
    loss = -np.log(answers[np.arange(len(val.label)), val.label]).mean()
    assert loss == pytest.approx(lines[best(lines)]["val_loss"], rel=1e-3)
    assert params.labels.names == NAMES


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_metrics(project_copy):
    before, lines = network.load(paths.HEAD / "model.keras").get_weights(), epochs(RunRecord.load(paths.HEAD))
    train.main()
    after = network.load(paths.HEAD / "model.keras").get_weights()
    assert all(np.array_equal(left, right) for left, right in zip(before, after, strict=True))
    assert epochs(RunRecord.load(paths.HEAD)) == lines


def test_a_broken_input_costs_no_record(project_copy):
    (paths.EMBEDDINGS / "val/features-00000.npy").write_bytes(b"rubbish")
    with pytest.raises(UserError, match=r"val/features-00000\.npy is not readable"):
        train.main()
    assert not paths.RUNS.exists()


def test_a_diverging_run_is_recorded_as_failed(project_copy):
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["train"] |= {"learning_rate": 1e30, "epochs": 2}
    paths.PARAMS.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"train\.learning_rate"):
        train.main()
    (folder,) = paths.RUNS.iterdir()
    failed = read_json(folder / "record.json")
    assert failed["status"] == "FAILED"
    assert "diverged" in failed["reason"]
    assert (
        json.loads((paths.HEAD / "record.json").read_text(encoding="utf-8"))["status"] == "FINISHED"
    )  # the last good one
