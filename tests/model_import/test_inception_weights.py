"""pipeline.model_import.inception_weights: nsfwjs' Inception v3, whose layers have generated names."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.model_import import inception_weights
from tests.support.foreign_models import save_tfjs

pytestmark = [pytest.mark.rare, pytest.mark.untraced]  # saving and reading the whole network takes minutes
SIZE = 75  # px, the least that the network takes


@pytest.fixture(scope="module")
def original() -> keras.Model:
    """Inception v3 and a head, its layers' numbers shifted by another network's, BatchNorm's statistics random."""
    keras.utils.set_random_seed(1)
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()])
    base = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
    rng = np.random.default_rng(1)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.8, 1.2, weight.shape) for weight in layer.weights])
    features = keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    return keras.Model(base.input, keras.layers.Dense(3, "softmax", name="out")(features))


@pytest.fixture(scope="module")
def saved(original, tmp_path_factory) -> Path:
    return save_tfjs(tmp_path_factory.mktemp("inception"), original)


def edited(saved: Path, folder: Path, edit) -> Path:
    """A copy of model.json with a changed topology, beside the same weights."""
    shutil.copytree(saved.parent, folder, copy_function=lambda source, target: Path(target).symlink_to(source))
    document = json.loads(saved.read_text())
    edit({layer["name"]: layer for layer in document["modelTopology"]["model_config"]["config"]["layers"]})
    (folder / "model.json").unlink()
    (folder / "model.json").write_text(json.dumps(document))
    return folder / "model.json"


def test_every_layer_comes_through_whatever_its_number(nsfw, original, saved, tmp_path):
    out = tmp_path / "inception.weights.h5"
    code, shown, _ = nsfw("import-weights", str(saved), str(out))
    assert code == 0
    assert f"{{name: inception_v3, alpha: 1, weights: {out}, size: 75, rescaling: unit}}" in shown
    keras.backend.clear_session()
    backbone = keras.applications.InceptionV3(weights=str(out), include_top=False, input_shape=(SIZE, SIZE, 3))
    pictures = np.random.default_rng(2).uniform(0, 1, (2, SIZE, SIZE, 3)).astype(np.float32)
    wanted = keras.Model(original.input, original.get_layer("mixed10").output).predict_on_batch(pictures)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(backbone.predict_on_batch(pictures), wanted, atol=1e-5)


def another_epsilon(layers):
    norm = next(layer for layer in layers.values() if layer["class_name"] == "BatchNormalization")
    norm["config"].update(epsilon=0.5)


def exchanged_branches(layers):
    first, second = layers["mixed9_1"]["inbound_nodes"][0]
    layers["mixed9_1"]["inbound_nodes"] = [[second, first]]


@pytest.mark.parametrize(
    ("edit", "reason"), [(another_epsilon, "Keras' one has other outputs"), (exchanged_branches, "has weights")]
)
def test_another_network_is_refused(edit, reason, saved, tmp_path):
    with pytest.raises(UserError, match=f"is no Inception v3: .*{reason}"):
        inception_weights.inception_v3_backbone(edited(saved, tmp_path / "copy", edit))
