"""Every format of every kind of model gives the outputs of the registered model."""

import hashlib
import importlib.util
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from onnx import helper

from pipeline.core.errors import UserError
from pipeline.exporting import formats
from pipeline.exporting.graph import SMALLEST_PROBABILITY, Source
from pipeline.serving.decision import Decision
from pipeline.serving.networks import Adapter, load_network
from tests.support.foreign_models import SIZE, network, save_keras, save_linear, save_onnx, save_saved_model

UNIT = (1 / 255, 1 / 255, 1 / 255)
ODD = {"scale": (1 / 255, 2 / 255, 3 / 255), "offset": (0.1, 0.2, 0.3), "channels": "bgr", "order": ((2,), (0, 1))}
SAVE = {"keras": save_keras, "saved_model": save_saved_model, "onnx": save_onnx}
TEMPERATURE = 1.7


def pixels() -> np.ndarray:
    """Five pictures of different colours, as pictures of pure noise look alike to a network."""
    rng = np.random.default_rng(3)
    levels = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (9, 9, 9)]).reshape(5, 1, 1, 3)
    return np.clip(levels + rng.normal(0, 40, (5, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)


def answers(source: Source) -> np.ndarray:
    """The outputs of the registered model: network with adapter, and the decision's calibration."""
    raw = load_network(source.model_file, source.adapter, source.size, source.classes)(pixels())
    labels = tuple("abcde"[: source.classes])
    return Decision(labels, labels[:1], source.temperature).probabilities(raw)


def exported(kind: formats.Format, source: Source, folder: Path, how: str = "none") -> np.ndarray:
    return formats.load(kind, formats.convert(kind, source, how, folder))(pixels().astype(np.float32))


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.mark.parametrize("kind", ["savedmodel", "onnx", "litert"])
@pytest.mark.parametrize("of", ["keras", "saved_model"])
@pytest.mark.parametrize("odd", [False, True])
def test_an_export_says_what_serves(kind, of, odd, model, tmp_path):
    adapter = Adapter(kind=of, outputs="logits", **ODD) if odd else Adapter(kind=of, scale=UNIT)
    (tmp_path / "theirs").mkdir()
    source = Source(SAVE[of](tmp_path / "theirs", model), adapter, SIZE, 2 if odd else 3, TEMPERATURE if odd else 1.0)
    wanted = answers(source)
    assert np.ptp(wanted, axis=0).max() > 0.01  # or any output would do
    np.testing.assert_allclose(exported(kind, source, tmp_path), wanted, atol=2e-6)


def classifier_with(layer) -> keras.Model:
    """A classifier whose only feature map is what `layer` makes of a first convolution."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(8, 3, strides=2)(keras.layers.Rescaling(1 / 127.5, -1.0)(inputs))
    pooled = keras.layers.GlobalAveragePooling2D()(layer(x))
    return keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer="he_normal")(pooled))


@pytest.mark.parametrize("kind", ["savedmodel", "onnx", "litert"])
def test_grouped_convolutions_and_gelu_are_exported(kind, tmp_path):
    """ConvNeXt's: Keras compiles the one by XLA, which ONNX cannot call, and tf2onnx does not know the other's Erfc."""
    grouped = keras.layers.Conv2D(8, 3, groups=8, activation="gelu")
    source = Source(save_keras(tmp_path, classifier_with(grouped)), Adapter(), SIZE, 3)
    wanted = answers(source)
    assert np.ptp(wanted, axis=0).max() > 0.01
    np.testing.assert_allclose(exported(kind, source, tmp_path), wanted, atol=2e-6)


def test_an_operation_that_onnx_lacks_is_named(tmp_path):
    path = save_keras(tmp_path, classifier_with(lambda x: keras.ops.erfinv(keras.ops.tanh(x))))
    with pytest.raises(UserError, match=r"no ONNX form: ONNX has no Erfinv"):
        formats.convert("onnx", Source(path, Adapter(), SIZE, 3), "none", tmp_path)
    assert not (tmp_path / formats.FILES["onnx"]).exists()


@pytest.mark.parametrize("batch", ["n", 1])
@pytest.mark.parametrize("how", ["none", "float16"])
def test_an_onnx_model_of_others_carries_its_adapter_along(batch, how, tmp_path):
    (tmp_path / "theirs").mkdir()
    adapter = Adapter("onnx", layout="nchw", **ODD)
    source = Source(save_onnx(tmp_path / "theirs", batch), adapter, SIZE, 2, TEMPERATURE)
    np.testing.assert_allclose(exported("onnx", source, tmp_path, how), answers(source), atol=2e-6)


@pytest.mark.parametrize("outputs", ["probability", "logit"])
@pytest.mark.parametrize("order", [None, ((1,), (0,))])
def test_a_single_output_becomes_two_labels(outputs, order, tmp_path):
    weights, bias = np.array([[2.0], [-3.0], [1.5]]), np.array([0.2])
    activation = {"probability": "Sigmoid", "logit": "Identity"}[outputs]
    adapter = Adapter("onnx", scale=UNIT, layout="nchw", outputs=outputs, order=order)
    (tmp_path / "theirs").mkdir()
    theirs = Source(save_linear(tmp_path / "theirs", weights, bias, activation), adapter, SIZE, 2, TEMPERATURE)
    np.testing.assert_allclose(exported("onnx", theirs, tmp_path), answers(theirs), atol=2e-6)
    inputs = keras.Input((SIZE, SIZE, 3))
    dense = keras.layers.Dense(1, activation="sigmoid" if outputs == "probability" else None)
    model = keras.Model(inputs, dense(keras.layers.GlobalAveragePooling2D()(inputs)))
    source = Source(save_keras(tmp_path, model), Adapter(scale=UNIT, outputs=outputs, order=order), SIZE, 2)
    wanted = answers(source)
    np.testing.assert_allclose(wanted.sum(axis=1), 1.0, atol=1e-6)
    (tmp_path / "saved").mkdir()
    np.testing.assert_allclose(exported("savedmodel", source, tmp_path / "saved"), wanted, atol=2e-6)


def test_its_own_names_may_be_ours(tmp_path):
    def rename(model: onnx.ModelProto) -> None:
        model.graph.node[0].output[0] = model.graph.node[1].input[0] = "pixels"
        model.graph.node[-1].output[0] = model.graph.output[0].name = "probabilities"

    (tmp_path / "theirs").mkdir()
    source = Source(save_onnx(tmp_path / "theirs", edit=rename), Adapter("onnx", UNIT, layout="nchw"), SIZE, 3)
    np.testing.assert_allclose(exported("onnx", source, tmp_path), answers(source), atol=2e-6)


def test_an_onnx_model_is_nothing_else(tmp_path):
    source = Source(save_onnx(tmp_path), Adapter("onnx", UNIT, layout="nchw"), SIZE, 3)
    for kind in ("savedmodel", "litert"):
        with pytest.raises(UserError, match="Say --format onnx"):
            formats.convert(kind, source, "none", tmp_path)


def test_a_fixed_number_of_pictures_is_refused(tmp_path):
    source = Source(save_onnx(tmp_path, 4), Adapter("onnx", UNIT, layout="nchw"), SIZE, 3)
    with pytest.raises(UserError, match="fixed number of pictures"):
        formats.convert("onnx", source, "none", tmp_path)


@pytest.mark.parametrize("kind", ["onnx", "litert"])
@pytest.mark.parametrize("how", ["none", "float16", "dynamic"])
def test_the_same_model_gives_the_same_bytes(kind, how, model, tmp_path):
    digests = set()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        source = Source(save_keras(tmp_path / folder, model), Adapter(scale=UNIT), SIZE, 3, TEMPERATURE)
        digests.add(hashlib.sha256(formats.convert(kind, source, how, tmp_path / folder).read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("kind", ["onnx", "litert"])
def test_quantization_makes_it_smaller_and_less_exact(kind, tmp_path):
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(64, 3, strides=4, activation="relu")(inputs)
    x = keras.layers.Conv2D(64, 3, activation="relu")(x)
    x = keras.layers.Dense(128, "relu")(keras.layers.GlobalAveragePooling2D()(x))
    wide = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
    source = Source(save_keras(tmp_path, wide), Adapter(scale=UNIT), SIZE, 3)
    wanted, sizes, apart = answers(source), {}, {}
    for how in ("none", "float16", "dynamic"):
        (tmp_path / how).mkdir()
        apart[how] = np.abs(exported(kind, source, tmp_path / how, how) - wanted).max()
        sizes[how] = (tmp_path / how / formats.FILES[kind]).stat().st_size
    assert sizes["float16"] < 0.6 * sizes["none"]
    assert sizes["dynamic"] < 0.35 * sizes["none"]
    assert apart["none"] < 2e-6 < apart["float16"] < 0.005
    assert apart["float16"] < apart["dynamic"] < 0.05


def test_names_in_onnx_are_ours_and_the_batch_is_free(model, tmp_path):
    source = Source(save_keras(tmp_path, model), Adapter(scale=UNIT), SIZE, 3)
    made = onnx.load(formats.convert("onnx", source, "none", tmp_path))
    (taken,), (given,) = made.graph.input, made.graph.output
    assert (taken.name, given.name) == ("pixels", "probabilities")
    assert taken.type.tensor_type.shape.dim[0].dim_param == given.type.tensor_type.shape.dim[0].dim_param == "n"
    assert [entry.domain for entry in made.opset_import] == [""]
    assert not helper.printable_graph(made.graph).count("theirs")


@pytest.mark.parametrize("kind", ["savedmodel", "onnx", "litert"])
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_pictures(kind, count, model, tmp_path):
    source = Source(save_keras(tmp_path, model), Adapter(scale=UNIT), SIZE, 3)
    run = formats.load(kind, formats.convert(kind, source, "none", tmp_path))
    run(pixels().astype(np.float32))
    np.testing.assert_allclose(run(pixels().astype(np.float32)[:count]), answers(source)[:count], atol=2e-6)


def test_what_cannot_be_is_refused_before_anything_is_done(monkeypatch):
    with pytest.raises(UserError, match="a SavedModel is not quantized"):
        formats.check("savedmodel", "float16")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "lite" in name or "tf2" in name else real(name)
    )
    for kind, package in (("onnx", "tf2onnx"), ("litert", "ai-edge-litert")):
        with pytest.raises(UserError, match=rf"needs {package}, which is not installed: `uv sync --extra export`"):
            formats.check(kind, "none")
    formats.check("savedmodel", "none")


def test_the_logarithm_is_clipped_as_where_the_temperature_was_fitted():
    from pipeline.core import temperature

    assert temperature.SMALLEST_PROBABILITY == SMALLEST_PROBABILITY
