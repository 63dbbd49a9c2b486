"""The backbone is an ONNX file of features from elsewhere."""

import hashlib

import numpy as np
import onnx
import pytest
from onnx import helper

from pipeline.core.errors import UserError
from pipeline.model import features_file, network
from pipeline.model.features_file import FeaturesFile
from pipeline.serving.networks import Adapter, load_network
from tests.support.feature_files import FEATURES, save_features

SIZE = 32


@pytest.fixture
def named(backbone_params):
    def make(path, **changes):
        plain = {"name": "features_file", "alpha": 1.0, "weights": str(path), "size": SIZE, "rescaling": "clip"}
        return backbone_params(**plain | changes)

    return make


@pytest.fixture
def pixels():
    return np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


def by_hand(pixels: np.ndarray, path) -> np.ndarray:
    """The features, computed in numpy, of pictures as CLIP's own preprocessing makes them."""
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    pictures = (pixels / 255 - mean) / deviation
    (kernel,) = (onnx.numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer)
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (3, 3), axis=(1, 2))  # n, y, x, channel, 3, 3
    return np.maximum(np.einsum("nyxcij,fcij->nyxf", windows, kernel), 0).mean(axis=(1, 2))


@pytest.mark.parametrize("channels_first", [True, False])
def test_features_are_the_files_of_pictures_in_its_range(named, pixels, tmp_path, channels_first):
    path = save_features(tmp_path / "clip.onnx", SIZE, channels_first=channels_first)
    features = FeaturesFile.open(named(path))
    assert (features.given, features.output_shape) == ("image_embeds", (None, FEATURES))
    np.testing.assert_allclose(features.predict_on_batch(pixels), by_hand(pixels, path), rtol=1e-4, atol=1e-5)
    alone = np.concatenate([features.predict_on_batch(pixels[k : k + 1]) for k in range(len(pixels))])
    np.testing.assert_array_equal(features.predict_on_batch(pixels), alone)


@pytest.mark.parametrize("channels_first", [True, False])
def test_the_joined_classifier_is_file_and_head_for_serving_too(named, pixels, params, tmp_path, channels_first):
    features = FeaturesFile.open(named(save_features(tmp_path / "a.onnx", SIZE, channels_first=channels_first)))
    head = network.head(FEATURES, 3, params.train, seed=1)
    out = tmp_path / "model.onnx"
    features.join(head, out)
    wanted = np.array(head(features.predict_on_batch(pixels), training=False))
    assert np.ptp(wanted, axis=0).max() > 1e-3
    np.testing.assert_allclose(features_file.load(out)(pixels), wanted, atol=1e-5)
    served = load_network(out, Adapter(kind="onnx"), SIZE, 3)
    np.testing.assert_allclose(served(pixels), wanted, atol=1e-5)
    first = out.read_bytes()
    features.join(head, out)
    assert out.read_bytes() == first


def test_the_cache_of_embeddings_tells_files_and_ranges_apart(named, tmp_path):
    path = save_features(tmp_path / "a.onnx", SIZE)
    other = save_features(tmp_path / "b.onnx", SIZE, outputs=("pooler_output",))
    opened = [FeaturesFile.open(named(path)), FeaturesFile.open(named(path, rescaling="imagenet"))]
    assert len({features.to_json() for features in [*opened, FeaturesFile.open(named(other))]}) == 3


def test_of_several_outputs_the_pooled_one_is_taken(named, tmp_path):
    path = save_features(tmp_path / "a.onnx", SIZE, outputs=("logits", "pooler_output"))
    assert FeaturesFile.open(named(path)).given == "pooler_output"
    with pytest.raises(UserError, match=r"logits .*scores .*which are the features"):
        FeaturesFile.open(named(save_features(tmp_path / "b.onnx", SIZE, outputs=("logits", "scores"))))


def edited(path, change):
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


def custom_operator(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def second_input(model):
    model.graph.input.append(helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["batch", 7]))


def elsewhere(model):
    model.graph.initializer[0].external_data.append(onnx.StringStringEntryProto(key="location", value="/etc/passwd"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (custom_operator, "com.microsoft"),
        (second_input, "takes pixel_values, input_ids"),
        (elsewhere, "lie in another file"),
    ],
)
def test_a_file_that_is_not_pictures_to_features_alone_is_refused(named, tmp_path, change, reason):
    path = edited(save_features(tmp_path / "a.onnx", SIZE), change)
    with pytest.raises(UserError, match=reason) as refused:
        FeaturesFile.open(named(path))
    assert str(path) in str(refused.value)


def test_messages_name_the_way_out(named, tmp_path):
    path = save_features(tmp_path / "a.onnx", SIZE)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert FeaturesFile.open(named(path, weights_sha256=digest)).features == FEATURES
    for params, reason in (
        (named(tmp_path / "absent.onnx"), "no such file"),
        (named(path, weights_sha256="0" * 64), f"has SHA-256 {digest}"),
        (named(path, size=48), r"takes \[None, 3, 32, 32\], but backbone.size is 48"),
        (named(save_features(tmp_path / "one.onnx", SIZE, batch=1)), "dynamic batch"),
    ):
        with pytest.raises(UserError, match=reason):
            FeaturesFile.open(params)
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cut\.onnx is cut short"):
        FeaturesFile.open(named(tmp_path / "cut.onnx"))


def test_it_has_no_network_of_keras(named, tmp_path):
    with pytest.raises(UserError, match="no layers to train or search"):
        network.embedder(named(save_features(tmp_path / "a.onnx", SIZE)))
