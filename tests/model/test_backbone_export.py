import keras
import numpy as np
import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.model import backbone, backbone_export, network

pytestmark = pytest.mark.untraced

RECIPE = {"made_by": "a test", "test": {"accuracy": 0.5}, "params": {"backbone.alpha": 0.35}}


@pytest.fixture(scope="module")
def trained(backbone_params, params, tmp_path_factory):
    """A saved classifier, and its embedder."""
    embed = network.embedder(backbone_params())
    path = tmp_path_factory.mktemp("model") / "model.keras"
    network.save(network.classifier(embed, network.head(1280, 3, params.train, seed=1)), path)
    return path, embed


def test_an_exported_backbone_gives_the_same_features(trained, backbone_params, tmp_path):
    path, embed = trained
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    wanted = embed(pictures, training=False).numpy()
    out = tmp_path / "new" / "mine.weights.h5"
    described = backbone_export.export_backbone(path, out, RECIPE)
    features = network.embedder(backbone_params(weights=str(out)))(pictures, training=False)
    np.testing.assert_array_equal(features, wanted)
    assert described == tmp_path / "new" / "mine.yaml"
    assert yaml.safe_load(described.read_text(encoding="utf-8")) == RECIPE
    assert sorted(file.name for file in out.parent.iterdir()) == ["mine.weights.h5", "mine.yaml"]


def test_it_serves_a_picture_size_that_it_was_not_trained_at(trained, backbone_params, tmp_path):
    backbone_export.export_backbone(trained[0], tmp_path / "mine.weights.h5", RECIPE)
    built = backbone.build(backbone_params(weights=str(tmp_path / "mine.weights.h5"), size=64))
    assert built.output_shape == (None, 2, 2, 1280)


@pytest.mark.parametrize("name", ["mine.h5", "mine", "mine.keras"])
def test_another_ending_is_refused(trained, tmp_path, name):
    with pytest.raises(UserError, match=r"\.weights\.h5"):
        backbone_export.export_backbone(trained[0], tmp_path / name, RECIPE)
    assert not any(tmp_path.iterdir())


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.keras does not exist"):
        backbone_export.export_backbone(tmp_path / "absent.keras", tmp_path / "mine.weights.h5", RECIPE)


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    def half(self, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    out = tmp_path / "mine.weights.h5"
    out.write_bytes(b"before")
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    monkeypatch.setattr(keras.Model, "save_weights", half)
    with pytest.raises(OSError, match="No space"):
        backbone_export.save_weights(model, out)
    assert out.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["mine.weights.h5"]


def test_a_model_made_from_a_features_file_has_no_backbone_to_export(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UserError, match="features file"):
        backbone_export.export_backbone(tmp_path / "model.keras", tmp_path / "mine.weights.h5", RECIPE)
