import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.data import sources
from pipeline.evaluation import calibration
from pipeline.evaluation import predictions as table
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evaluation.recall import summary
from pipeline.evidence import collecting
from pipeline.evidence.document import DOCUMENT, PREDICTIONS, Document
from pipeline.images.resize import Resize
from pipeline.params.evaluate import Policy
from pipeline.params.root import load_params
from pipeline.tracking.lineage import digest

NAMES = ["drawings", "neutral", "porn"]


def by_colour(pictures: np.ndarray) -> np.ndarray:
    odds = np.exp(pictures.mean(axis=(1, 2)) / 40)
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.fixture
def predictions(in_project) -> pd.DataFrame:
    return tables.read_parquet(paths.PREDICTIONS)


@pytest.fixture
def document(in_project) -> dict:
    """What the stage wrote."""
    return json.loads((paths.EVIDENCE / DOCUMENT).read_text(encoding="utf-8"))


def test_the_stage_writes_the_whole_document(document, predictions):
    assert set(document) == {
        "schema", "labels", "unsafe", "size", "confidence", "test", "summary", "bootstrap", "calibration",
        "target_recall", "operating_points", "policy", "robustness", "slices", "raw", "cleaned", "reports", "leaks",
        "model_sha256", "sources",
    }  # fmt: skip
    test = predictions[predictions["split"] == "test"]
    assert document["schema"] == 1
    assert document["model_sha256"] == digest(paths.FINETUNED / paths.MODEL_FILE)
    assert (document["labels"], document["unsafe"], document["size"]) == (NAMES, ["porn"], 32)
    assert document["test"] == {
        "digest": table.digest(test),
        "pictures": len(test),
        "by_label": test["label"].value_counts().reindex(NAMES).to_dict(),
    }
    assert "NaN" not in (paths.EVIDENCE / DOCUMENT).read_text()


def test_its_figures_are_those_of_the_predictions(document, predictions):
    val, test = (table.arrays(predictions[predictions["split"] == split], NAMES) for split in ("val", "test"))
    assert document["summary"] == summary(*test, NAMES, ("porn",), 0.95)
    temperature, tested = calibration.choose_temperature(*val, 1)
    assert document["calibration"] == calibration.report(*test, temperature) | {"held_out": tested}
    point = document["operating_points"]["unsafe"]
    scores = calibration.apply(val[0], temperature)[:, 2]
    assert point["val_recall"] == (scores[val[1] == 2] >= point["threshold"]).mean() >= 0.95
    low, high = document["bootstrap"]["macro_recall"]
    assert low <= document["summary"]["macro_recall"] <= high
    assert document["robustness"]["plain"]["recall"] == document["summary"]["recall"]
    assert document["cleaned"]["summary"] == document["summary"] == document["raw"]["summary"]
    source = next(row for row in document["slices"]["rows"] if row["family"] == "source")
    assert (source["slice"], source["pictures"]) == ("test", document["test"]["pictures"])
    assert document["leaks"]["test_pictures"] == document["test"]["pictures"]
    assert document["leaks"]["straddling"] == 0
    splits = tables.read_parquet(paths.SPLITS)["split"].value_counts()
    assert document["sources"] == [
        {"name": "test", **{split: int(splits[split]) for split in ("train", "val", "test")}}
    ]


def test_predictions_and_plots_lie_beside_it(predictions, in_project):
    pd.testing.assert_frame_equal(tables.read_parquet(paths.EVIDENCE / PREDICTIONS), predictions)
    for name in ("pr", "reliability", "confusion"):
        with Image.open(paths.EVIDENCE / f"plots/{name}.png") as image:
            assert min(image.size) > 300


def test_an_imported_model_of_another_size_passes_through_the_same_twice_alike(in_project, tmp_path):
    params = load_params()
    predictions = collecting.predictions_from_shards(by_colour, 24, ("val", "test"), params)
    for name in ("one", "two"):
        collecting.write(collecting.collect(by_colour, "a" * 64, 24, predictions, params), predictions, tmp_path / name)
    for path in (path for path in (tmp_path / "one").rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    document = json.loads((tmp_path / "one/evidence.json").read_text())
    assert document["size"] == 24
    assert document["robustness"]["plain"]["unsafe_recall"] == document["summary"]["unsafe"]["recall"]


def test_decisions_reports_and_tags_reach_the_document(project_copy):
    """Test pictures: one relabelled, one reported, some tagged."""
    params = load_params()
    predictions = tables.read_parquet(paths.PREDICTIONS)
    test = predictions[predictions["split"] == "test"].reset_index(drop=True)
    first, second = test["sha256"][:2]
    sources.write(paths.DATA, "test", {"licence": "CC0", "collected": "by hand"})
    other = next(name for name in NAMES if name != test["label"][0])
    predictions.loc[predictions["sha256"] == first, "label"] = other
    paths.DECISIONS.write_text(
        "sha256,old_label,new_label,reviewer,reason,decided_at,model_version\n"
        f"{first},{test['label'][0]},{other},kim,,,\n{'0' * 64},porn,drop,kim,,,\n"
    )
    predicted = table.predicted_classes(test, NAMES)[1]
    wrong = next(name for name in NAMES if name != predicted)
    paths.REPORTS.write_text(f"sha256,expected_label,slice,ticket,reported_at\n{second},{wrong},,T-7,\n")
    paths.SLICES.write_text("sha256,slice\n" + "".join(f"{sha},night\n" for sha in test["sha256"][:4]))
    changed = {"policy": Policy(block=("porn",)), "prevalence": None}
    params = params.model_copy(update={"evaluate": params.evaluate.model_copy(update=changed)})
    document = collecting.collect(by_colour, "a" * 64, 24, predictions, params).to_json()
    (source,) = document["sources"]
    assert (source["licence"], source["collected"], "terms" in source) == ("CC0", "by hand", False)
    assert (document["raw"]["relabelled"], document["raw"]["dropped"]) == (1, 0)  # what was dropped is not in data
    assert document["raw"]["summary"] != document["cleaned"]["summary"]
    assert document["reports"]["wrong"] == [
        {"sha256": second, "expected_label": wrong, "said": predicted, "ticket": "T-7", "slice": ""}
    ]
    night = [row for row in document["slices"]["rows"] if row["family"] == "tag"]
    assert [(row["slice"], row["pictures"]) for row in night] == [("night", 4)]
    assert list(document["operating_points"]) == ["unsafe", "block"]
    assert document["operating_points"]["block"]["at_prevalence"] is None


def test_without_test_pictures_it_says_where_to_look(predictions):
    with pytest.raises(UserError, match="no picture to measure"):
        collecting.collect(by_colour, "a" * 64, 24, predictions[predictions["split"] == "val"], load_params())


def as_binary(pictures: np.ndarray) -> np.ndarray:
    """The same model with two outputs: safe (drawings and neutral) and unsafe (porn)."""
    unsafe = by_colour(pictures)[:, 2]
    return np.stack([1 - unsafe, unsafe], axis=1)


def collected(score, match: LabelMatch, folder) -> dict:
    params = load_params()
    predictions = collecting.predictions_from_shards(score, 24, ("val", "test"), params, match.labels)
    collecting.write(collecting.collect(score, "a" * 64, 24, predictions, params, match), predictions, folder)
    assert list(predictions)[3:] == [f"p_{label}" for label in match.labels]
    document = json.loads((folder / DOCUMENT).read_text())
    assert Document.read(document).match == match
    return document


def test_a_binary_model_has_the_figures_of_unsafe_against_safe(in_project, tmp_path):
    """They are those of the model with all classes, whose unsafe class is the same output."""
    match = LabelMatch(("safe", "unsafe"), ("unsafe",), tuple(NAMES), ("porn",))
    binary = collected(as_binary, match, tmp_path / "binary")
    every = collected(by_colour, LabelMatch.own(NAMES, ("porn",)), tmp_path / "every")
    assert (binary["labels"], binary["unsafe"]) == (["safe", "unsafe"], ["unsafe"])
    assert binary["truth"] == {"labels": NAMES, "unsafe": ["porn"]}
    assert "truth" not in every
    for section in ("test", "policy", "leaks"):
        assert binary[section] == every[section]
    nothing = ("accuracy", "macro_recall", "macro_recall_interval", "loss")
    assert {binary["summary"][name] for name in nothing} == {None}
    assert binary["summary"]["recall"] == binary["bootstrap"]["recall"] == {}
    assert [sum(row) for row in binary["summary"]["confusion"]] == [sum(row) for row in every["summary"]["confusion"]]
    assert set(binary["operating_points"]) == {"unsafe", "queue"}
    assert binary["operating_points"]["unsafe"]["classes"] == ["unsafe"]
    assert binary["operating_points"]["unsafe"]["recall"] is not None
    plain = binary["robustness"]["plain"]
    assert (plain["recall"], plain["macro_recall"]) == ({}, None)
    assert plain["unsafe_recall"] == binary["summary"]["unsafe"]["recall"]
    assert {row["accuracy"] for row in binary["slices"]["rows"]} == {None}
    assert [row["unsafe_pictures"] for row in binary["slices"]["rows"]] == [
        row["unsafe_pictures"] for row in every["slices"]["rows"]
    ]
    assert binary["raw"]["summary"]["unsafe"] == binary["summary"]["unsafe"]
    assert binary["calibration"]["held_out"]["loss_before"] is not None
    for name in ("pr", "reliability", "confusion"):
        assert (tmp_path / f"binary/plots/{name}.png").stat().st_size > 5000


def test_a_binary_model_sees_pictures_as_its_resize_has_them(in_project):
    """In its predictions and in its robustness alike: here the middle of a square of twice its size."""
    match, resize = LabelMatch(("safe", "unsafe"), ("unsafe",), tuple(NAMES), ("porn",)), Resize("crop", 48)
    params, seen = load_params(), []

    def score(pictures):
        seen.append(pictures)
        return as_binary(pictures)

    predictions = collecting.predictions_from_shards(score, 24, ("test",), params, match.labels, resize)
    first = np.concatenate(seen)
    every = collecting.predictions_from_shards(by_colour, 24, ("test",), params, resize=resize)
    squashed = collecting.predictions_from_shards(by_colour, 24, ("test",), params)
    np.testing.assert_allclose(predictions["p_unsafe"], every["p_porn"], atol=1e-6)
    assert not np.array_equal(every["p_porn"], squashed["p_porn"])
    seen.clear()
    val = collecting.predictions_from_shards(as_binary, 24, ("val",), params, match.labels, resize)
    document = collecting.collect(score, "a" * 64, 24, pd.concat([val, predictions]), params, match, resize).to_json()
    assert any(np.array_equal(pictures, first) for pictures in seen)
    assert document["robustness"]["plain"]["unsafe_recall"] == document["summary"]["unsafe"]["recall"]


def test_of_a_renamed_class_the_others_are_judged(in_project, tmp_path):
    match = LabelMatch(("drawings", "neutral", "nude"), ("nude",), tuple(NAMES), ("porn",))
    renamed = collected(by_colour, match, tmp_path / "renamed")
    every = collected(by_colour, LabelMatch.own(NAMES, ("porn",)), tmp_path / "every")
    assert renamed["summary"]["recall"] == {name: every["summary"]["recall"][name] for name in ("drawings", "neutral")}
    assert renamed["summary"]["unsafe"] == every["summary"]["unsafe"]
    assert renamed["summary"]["confusion"] == every["summary"]["confusion"]
    assert set(renamed["robustness"]["grey"]["recall"]) == {"drawings", "neutral"}
    point = renamed["operating_points"]["unsafe"]
    assert point["classes"] == ["nude"]
    assert point["val_recall"] >= 0.95
