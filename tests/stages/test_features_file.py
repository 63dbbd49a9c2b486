"""A project whose backbone is a features file, from its packed pictures to a served version."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.core import paths
from pipeline.core.files import read_json
from pipeline.images.decode import decode
from pipeline.images.resize import to_square
from pipeline.model import network
from pipeline.params.root import load_params
from pipeline.registry.loading import open_model
from tests.support.feature_files import FEATURES, save_features
from tests.support.trained_project import SIZE, run


@pytest.fixture
def features_project(trained_project, tmp_path, monkeypatch) -> Path:
    """A copy of the trained project, of whose stages those after `pack` have run again with a features file."""
    root = tmp_path / "features"
    ignored = shutil.ignore_patterns("mlflow.db*", "mlartifacts", "raw", ".cache", "embeddings", "head", "finetuned")
    shutil.copytree(trained_project.root, root, ignore=ignored)
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["backbone"] |= {"name": "features_file", "alpha": 1.0, "weights": "clip.onnx", "rescaling": "clip"}
    document["finetune"]["unfreeze"] = "none"
    document["train"] |= {"epochs": 30, "learning_rate": 0.01}
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    save_features(Path("clip.onnx"), SIZE)
    for stage in ("embed", "train", "finetune", "evaluate", "audit", "register"):
        run(stage)
    return root


@pytest.mark.untraced
def test_it_is_trained_evaluated_registered_and_answers_as_evaluated(features_project, trained_project):
    metrics = read_json(paths.METRICS / "evaluate.json")
    assert network.load(paths.HEAD / "model.keras").input_shape == (None, FEATURES)  # a dep of dvc.yaml
    assert metrics["frozen"] == metrics["finetuned"]
    assert metrics["finetuned"]["macro_recall"] > 0.6  # of three colours, with wrong labels
    version = open_model(load_params(), "challenger")
    assert version.model_file.name == "model.onnx"
    predictions = pd.read_parquet(paths.PREDICTIONS)
    rows = predictions[predictions["split"] == "test"].head(4)
    pictures = [
        to_square(decode((trained_project.root / "raw" / trained_project.origins()[sha256]).read_bytes()).image, SIZE)
        for sha256 in rows["sha256"]
    ]
    raw = rows[["p_drawings", "p_neutral", "p_porn"]].to_numpy()
    wanted = version.decision.probabilities(raw)
    np.testing.assert_allclose(version.classifier().classify(np.stack(pictures)).probabilities, wanted, atol=1e-4)
