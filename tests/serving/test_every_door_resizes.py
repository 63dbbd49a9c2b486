"""A model that was trained with cropped pictures sees them cropped, whichever way they come."""

import hashlib
import io
import json
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.batch_scoring import scoring
from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import shards
from pipeline.evidence import scoring as evidence_scoring
from pipeline.exporting import export
from pipeline.images.resize import Resize
from pipeline.params.root import load_params
from pipeline.promotion import measured_pictures
from pipeline.registry.loading import open_model
from pipeline.service.serve import load_version
from pipeline.serving.decision import Decision
from pipeline.serving.networks import Adapter, load_network
from pipeline.serving.pyfunc_model import PictureModel, digest
from tests.support.foreign_models import CLASSES, SIZE, onnx_answer, save_onnx

CROPPING = Adapter("onnx", (1 / 255,) * 3, layout="nchw", resize=Resize("crop"))
RED = np.tile([1.0, 0.0, 0.0], (1, 4, 4, 1))


@pytest.fixture
def picture() -> bytes:
    """Red between two blue ends that are cut off."""
    image = Image.new("RGB", (3 * 64, 64), "blue")
    image.paste("red", (60, 0, 132, 64))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def model(project, tmp_path):
    """A version in a folder, as `mlflow artifacts download` writes it."""
    folder = tmp_path / "version"
    folder.mkdir()
    file = save_onnx(folder)
    spec = {"labels": CLASSES, "unsafe": ["porn"], "size": SIZE, "adapter": CROPPING.to_document(), "file": file.name}
    (folder / "model.json").write_text(json.dumps(spec | {"model_sha256": digest(file)}))
    return folder


def by_score(model, picture):
    (model.parent / "in").mkdir()
    (model.parent / "in" / "a.png").write_bytes(picture)
    out = model.parent / "out.parquet"
    scoring.score(
        open_model(load_params(), str(model)), load_params(), scoring.Job((os.fsencode(model.parent / "in"),), out)
    )
    return pd.read_parquet(out)[[f"p_{name}" for name in CLASSES]].to_numpy()


def by_service(model, picture):
    loaded = load_version(open_model(load_params(), str(model)), load_params())
    return loaded.classifier.classify_frames([loaded.preprocess(picture)]).probabilities


def by_mlflow(model, picture):
    served = PictureModel()
    served.load_context(SimpleNamespace(artifacts={"model": model / "theirs.onnx", "spec": model / "model.json"}))
    return served.predict(pd.DataFrame({"image": [picture]}))[list(CLASSES)].to_numpy()


def by_measure(model, picture):
    (model.parent / "a.png").write_bytes(picture)
    network = load_network(model / "theirs.onnx", CROPPING, SIZE, 3)
    files = [("porn", str(model.parent / "a.png"))]
    decision = Decision(CLASSES, ("porn",))
    return measured_pictures.worst_frame_answers(network, decision, files, SIZE, load_params(), CROPPING.resize)[0]


@pytest.mark.parametrize("door", [by_score, by_service, by_mlflow, by_measure])
def test_only_the_middle_is_seen(door, model, picture):
    np.testing.assert_allclose(door(model, picture).astype(float), onnx_answer(RED), atol=1e-4)


def test_the_evidence_sees_the_middle_too_plain_and_distorted(model, picture):
    sha256 = hashlib.sha256(picture).hexdigest()
    paths.SHARDS.mkdir(parents=True)
    shards.write(paths.SHARDS / "s.tar", [(sha256, "", picture)])
    (member,) = shards.list_members(paths.SHARDS / "s.tar")
    rows = pd.DataFrame([member._asdict()])
    network = load_network(model / "theirs.onnx", CROPPING, SIZE, 3)
    for forms in (("plain",), ("plain", "half")):
        (chunk,) = evidence_scoring._render(rows, SIZE, forms, load_params(), CROPPING.resize)
        for form in range(len(forms)):
            np.testing.assert_allclose(network(chunk[:, form]), onnx_answer(RED), atol=1e-4)


def test_an_export_whose_example_would_squash_is_refused(model):
    opened = open_model(load_params(), str(model))
    with pytest.raises(UserError, match="cut or padded"):
        export._source(opened, opened.classifier())
