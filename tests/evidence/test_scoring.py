import numpy as np
import pandas as pd
import pytest

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.evaluation import predictions as table
from pipeline.evaluation.recall import summary
from pipeline.evidence import scoring
from pipeline.images.decode import decode
from pipeline.images.resize import to_square
from pipeline.model import network
from pipeline.params.root import load_params

pytestmark = pytest.mark.untraced

NAMES = ["drawings", "neutral", "porn"]


def by_colour(pictures: np.ndarray) -> np.ndarray:
    """A model that needs no training: drawings are red, neutral is green, porn is blue."""
    assert pictures.dtype == np.uint8
    assert len(pictures) <= scoring.BATCH
    odds = np.exp(pictures.mean(axis=(1, 2)) / 40)
    return odds / odds.sum(axis=1, keepdims=True)


def test_a_keras_model_answers_batches_of_any_length(in_project):
    model = network.load(paths.FINETUNED / "model.keras")
    pictures = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    score = scoring.keras_score(model)
    expected = model(pictures.astype("float32"), training=False).numpy()
    for n in (1, 5):
        np.testing.assert_allclose(
            score(pictures[:n]), expected[:n], atol=5e-5
        )  # fused, it rounds another way: by 1.2e-5 on AVX2


def test_predictions_from_the_original_bytes_at_another_size(in_project):
    sizes = set()

    def score(pictures: np.ndarray) -> np.ndarray:
        sizes.add(pictures.shape[1:])
        return by_colour(pictures)

    predictions = scoring.predictions_from_shards(score, 20, ("val", "test"), load_params())
    assert sizes == {(20, 20, 3)}
    splits = tables.read_parquet(paths.SPLITS).set_index("sha256")
    assert list(predictions.columns) == ["sha256", "split", "label", *(f"p_{name}" for name in NAMES)]
    assert sorted(predictions["sha256"]) == sorted(splits.index[splits["split"] != "train"])
    assert predictions["split"].drop_duplicates().tolist() == ["val", "test"]
    for split in ("val", "test"):
        assert predictions.loc[predictions["split"] == split, "sha256"].is_monotonic_increasing
    known = predictions.set_index("sha256")
    assert (known["label"] == splits.loc[known.index, "label"]).all()
    row = predictions.iloc[3]
    picture = decode((in_project.root / "raw" / in_project.origins()[row["sha256"]]).read_bytes()).image
    assert row[[f"p_{name}" for name in NAMES]].tolist() == by_colour(to_square(picture, 20)[None])[0].tolist()


def test_at_the_packed_size_they_are_the_stages_own(in_project):
    params = load_params()
    score = scoring.keras_score(network.load(paths.FINETUNED / "model.keras"))
    predictions = scoring.predictions_from_shards(score, 32, ("val", "test"), params)
    stored = tables.read_parquet(paths.PREDICTIONS)
    pd.testing.assert_frame_equal(predictions, stored, atol=1e-4)


def test_robustness_is_of_the_first_pictures_and_names_the_worst(in_project):
    params = load_params()
    few = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"robustness_pictures": 9})})
    predictions = tables.read_parquet(paths.PREDICTIONS)
    test = predictions[predictions["split"] == "test"]
    report = scoring.robustness(by_colour, 20, test, few)
    assert report["pictures"] == 9
    assert set(report) == {"pictures", "plain", "half", "jpeg50", "grey", "screenshot", "grid", "mirrored", "worst"}
    chosen = test.sort_values("sha256").head(9)
    for form in ("plain", "half", "jpeg50", "mirrored"):
        assert report[form] == report["plain"]
    assert set(report["plain"]) == {"recall", "macro_recall", "unsafe_recall", "unsafe_recall_interval"}
    same = scoring.predictions_from_shards(by_colour, 20, ("test",), params).set_index("sha256").loc[chosen["sha256"]]
    expected = summary(*table.arrays(same, NAMES), NAMES, ["porn"], 0.95)
    assert report["plain"]["recall"] == expected["recall"]
    assert report["plain"]["unsafe_recall_interval"] == expected["unsafe"]["recall_interval"]
    assert report["grey"]["recall"] != report["plain"]["recall"]  # a model of colours cannot tell grey ones
    lowest = min(report[form]["unsafe_recall"] for form in ("half", "jpeg50", "grey", "screenshot", "grid", "mirrored"))
    assert report["worst"]["unsafe_recall"] == lowest == report[report["worst"]["distortion"]]["unsafe_recall"]


def test_a_catalog_of_other_data_is_named(project_copy):
    catalog = tables.read_parquet(paths.CATALOG)
    tables.write_parquet(catalog.head(3), paths.CATALOG)
    with pytest.raises(UserError, match=r"not in build/catalog.parquet.*Run `dvc repro`"):
        scoring.predictions_from_shards(by_colour, 20, ("test",), load_params())
