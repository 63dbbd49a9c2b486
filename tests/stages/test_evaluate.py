import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pipeline.core import paths, tables
from pipeline.core.files import read_json
from pipeline.data import annotation_files
from pipeline.evaluation import headline_metrics
from pipeline.images.decode import decode
from pipeline.images.resize import to_square
from pipeline.model import network
from pipeline.stages import evaluate, pack

ROOT = Path(__file__).parents[2]
NAMES = ["drawings", "neutral", "porn"]


@pytest.fixture
def predictions(in_project):
    return pd.read_parquet(paths.PREDICTIONS)


@pytest.fixture
def metrics(in_project):
    return read_json(paths.METRICS / "evaluate.json")


def test_predictions_are_of_val_and_test_and_sum_to_one(predictions):
    assert list(predictions.columns) == ["sha256", "split", "label", *(f"p_{name}" for name in NAMES)]
    splits = pd.read_parquet(paths.SPLITS)
    wanted = splits[splits["split"] != "train"].set_index("sha256")
    indexed = predictions.set_index("sha256")
    assert sorted(indexed.index) == sorted(wanted.index)
    assert (indexed[["split", "label"]] == wanted.loc[indexed.index, ["split", "label"]]).all(axis=None)
    probabilities = predictions[[f"p_{name}" for name in NAMES]]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert probabilities.min(axis=None) >= 0


def test_a_prediction_is_the_fine_tuned_models_of_the_raw_picture(predictions, in_project):
    row = predictions[predictions["split"] == "test"].iloc[0]
    picture = decode((in_project.root / "raw" / in_project.origins()[row["sha256"]]).read_bytes()).image
    answer = network.load(paths.FINETUNED / "model.keras")(
        to_square(picture, 32)[None].astype("float32"), training=False
    )
    np.testing.assert_allclose(answer.numpy()[0], row[[f"p_{name}" for name in NAMES]].astype(float), atol=1e-4)


def test_metrics_are_those_of_the_predictions(metrics, predictions):
    assert set(metrics) == {"frozen", "finetuned", "reports", "evidence"}
    test = predictions[predictions["split"] == "test"]
    predicted = test[[f"p_{name}" for name in NAMES]].to_numpy().argmax(axis=1)
    right = predicted == test["label"].map(NAMES.index).to_numpy()
    tuned = metrics["finetuned"]
    assert tuned["pictures"] == metrics["frozen"]["pictures"] == len(test)
    assert tuned["accuracy"] == pytest.approx(right.mean())
    recall = {name: right[test["label"] == name].mean() for name in NAMES}
    assert tuned["recall"] == pytest.approx(recall)
    assert tuned["macro_recall"] == pytest.approx(np.mean(list(recall.values())))
    for name in NAMES:
        low, high = tuned["recall_interval"][name]
        assert low <= recall[name] <= high
    assert set(tuned["unsafe"]) == {"recall", "recall_interval", "precision", "precision_interval"}
    assert "confusion" not in tuned  # has a table of its own


def test_the_plots_and_their_tables_are_there(predictions, metrics):
    for name in ("confusion.png", "recall.png"):
        with Image.open(paths.PLOTS / name) as image:
            assert min(image.size) > 200
    confusion = pd.read_csv(paths.PLOTS / "confusion_table.csv", index_col="true")
    assert list(confusion.columns) == list(confusion.index) == NAMES
    assert np.trace(confusion) / confusion.sum(axis=None) == pytest.approx(metrics["finetuned"]["accuracy"])
    for stage, epochs in (("train", 3), ("finetune", 2)):  # a curve each: in one table DVC draws a sawtooth
        curve = pd.read_csv(paths.PLOTS / f"epochs/{stage}.csv")
        assert curve["epoch"].tolist() == list(range(epochs))
        assert {"val_macro_recall", "val_recall/porn", "loss"} <= set(curve.columns)
    for model in ("frozen", "finetuned"):
        corners = pd.read_csv(paths.PLOTS / f"precision_recall/{model}.csv")
        assert corners["recall"].iloc[0] == 1.0
        assert corners[["recall", "precision"]].to_numpy().min() >= 0
    article = (paths.REPORTS_DIR / "article.md").read_text(encoding="utf-8")
    assert "| recall porn |" in article


def test_without_reports_there_are_no_cases(metrics):
    assert metrics["reports"] == {"cases": 0, "right": 0, "missing": 0}


def test_dvc_metrics_are_a_few_numbers_of_each_model_recall_first(in_project, metrics):
    both = {name: read_json(paths.METRICS / f"{name}.json") for name in ("frozen", "finetuned")}
    assert 10 <= sum(map(len, both.values())) <= 15
    for name, numbers in both.items():
        measured = metrics[name]
        first, *_ = sorted(numbers)  # as DVC lists them
        assert first == "recall.macro"
        assert numbers["recall.macro"] == measured["macro_recall"]
        assert numbers["recall.unsafe"] == measured["unsafe"]["recall"]
        assert numbers["recall.worst_class"] == min(measured["recall"].values())
        assert numbers["top1_accuracy"] == measured["accuracy"]
    point = metrics["evidence"]["operating_points"]["unsafe"]
    assert both["finetuned"]["threshold"] == point["threshold"]
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    shown = [path for stage in listed.values() for path in stage.get("metrics", [])]
    assert shown == ["metrics/frozen.json", "metrics/finetuned.json"]


def test_what_is_not_known_is_no_metric():
    nothing = {"recall": None, "precision": None}
    measured = {"macro_recall": 0.5, "accuracy": 0.6, "recall": {"porn": None, "neutral": 0.5}, "unsafe": nothing}
    evidence = {
        "operating_points": {"unsafe": {"recall": None, "threshold": 0.5, "false_positive_rate": 0.1}},
        "robustness": {"worst": None},
    }
    assert headline_metrics.headline(measured, evidence) == {
        "recall.macro": 0.5,
        "recall.worst_class": 0.5,
        "top1_accuracy": 0.6,
        "threshold": 0.5,
        "unsafe_false_positive_rate": 0.1,
    }


@pytest.mark.untraced
def test_pictures_that_nobody_can_tell_are_predicted_but_only_in_the_raw_test_set(project_copy):
    splits = pd.read_parquet(paths.SPLITS)
    tested = splits.loc[splits["split"] == "test", "sha256"].tolist()
    split = splits["split"].where(splits["sha256"] != tested[0], "unsure")
    tables.write_parquet(splits.assign(split=split), paths.SPLITS)
    text = f"{','.join(annotation_files.DECISIONS)}\n{tested[0]},,unsure,ann,,2026-01-02,\n"
    paths.DECISIONS.write_text(text, encoding="utf-8")
    shutil.rmtree(paths.PACKED)
    pack.main()
    evaluate.main()
    rows = pd.read_parquet(paths.PREDICTIONS)
    assert rows.loc[rows["split"] == "unsure", "sha256"].tolist() == [tested[0]]
    metrics = read_json(paths.METRICS / "evaluate.json")
    assert metrics["finetuned"]["pictures"] == metrics["evidence"]["cleaned"]["pictures"] == len(tested) - 1
    assert metrics["evidence"]["raw"]["pictures"] == len(tested)
    assert metrics["evidence"]["raw"]["unsure"] == 1
    assert metrics["evidence"]["leaks"]["straddling"] == 0
