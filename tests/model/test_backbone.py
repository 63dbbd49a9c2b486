import logging
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.model import backbone, network, objective
from pipeline.params.backbone import UNFREEZE_POINTS

pytestmark = pytest.mark.untraced


@pytest.fixture(scope="module")
def mobilenet(backbone_params):
    return backbone.build(backbone_params(size=96))


@pytest.fixture(scope="module")
def inception(backbone_params):
    return backbone.build(backbone_params(name="inception_v3", alpha=1.0, size=75))


@pytest.mark.parametrize(
    ("name", "alpha", "size", "rescaling", "ends"),
    [
        ("mobilenet_v2", 0.35, 96, None, (-1, 1)),
        ("inception_v3", 1.0, 299, None, (-1, 1)),
        ("mobilenet_v2", 0.35, 96, "unit", (0, 1)),
        ("inception_v3", 1.0, 299, "symmetric", (-1, 1)),
    ],
)
def test_rescaling_is_what_the_weights_were_trained_on(backbone_params, name, alpha, size, rescaling, ends):
    scale, offset = backbone.rescaling(backbone_params(name=name, alpha=alpha, size=size, rescaling=rescaling))
    assert (0 * scale + offset, 255 * scale + offset) == pytest.approx(ends)


@pytest.mark.parametrize("name", ["mobilenet_v2", "inception_v3"])
def test_imagenet_weights_see_pixels_as_keras_prepares_them(backbone_params, name):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    alpha = {"mobilenet_v2": 0.35, "inception_v3": 1.0}[name]
    scale, offset = backbone.rescaling(backbone_params(name=name, alpha=alpha, size=96, weights="imagenet"))
    wanted = getattr(keras.applications, name).preprocess_input(pixels.copy())
    np.testing.assert_allclose(pixels * scale + offset, wanted, atol=1e-6)


def number(layer) -> int:
    """The block that a MobileNetV2 layer belongs to; 0 before block_1, 99 after the last."""
    if layer.name in {"Conv_1", "Conv_1_bn", "out_relu"}:
        return 99
    block = re.match(r"block_(\d+)_", layer.name)
    return int(block[1]) if block else 0


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("point", UNFREEZE_POINTS["mobilenet_v2"])
def test_exactly_what_lies_after_the_point_trains(mobilenet, point, learned):
    backbone.unfreeze(mobilenet, "mobilenet_v2", point, batchnorm="frozen" if learned else "trained")
    last_frozen = {"all": -1, "none": 100}.get(point) or int(point.removeprefix("block_"))
    wanted = {
        layer.name
        for layer in mobilenet.layers
        if number(layer) > last_frozen and not (learned and isinstance(layer, keras.layers.BatchNormalization))
    }
    assert {layer.name for layer in mobilenet.layers if layer.trainable} == wanted
    trained = {weight.path.split("/")[-2] for weight in mobilenet.trainable_weights}
    assert trained == {layer.name for layer in mobilenet.layers if layer.name in wanted and layer.weights}
    assert (point == "none") == (not trained)


def test_an_unknown_point_lists_the_valid_ones(mobilenet):
    with pytest.raises(UserError, match=r"mixed5.*block_1, block_2.*block_16"):
        backbone.unfreeze(mobilenet, "mobilenet_v2", "mixed5", batchnorm="frozen")


def test_the_articles_generated_name_is_the_block_boundary_and_says_so(caplog):
    names = ["input", "mixed4", "conv2d_50", "mixed5", "conv2d_56", "mixed6"]
    model = SimpleNamespace(layers=[SimpleNamespace(name=name) for name in names])
    with caplog.at_level(logging.WARNING):
        assert backbone.first_trainable(model, "inception_v3", "conv2d_56") == names.index("mixed5") + 1
    assert "conv2d_56" in caplog.text
    assert "mixed5" in caplog.text


def trainable(model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.slow
def test_inception_unfreezes_as_many_weights_as_measured(inception, caplog):
    head = 5 * 2048 + 5  # one Dense layer, which the figures of nsfw_model's loop include
    figures = {
        "mixed9": "6.08e+06",
        "mixed8": "1.11e+07",
        "mixed7": "1.28e+07",
        "mixed6": "1.5e+07",
        "mixed5": "1.66e+07",
        "mixed4": "1.83e+07",
        "mixed2": "2.08e+07",
        "all": "2.18e+07",
    }
    counts = {}
    for point in [*figures, "conv2d_56"]:
        backbone.unfreeze(inception, "inception_v3", point, batchnorm="frozen")
        counts[point] = trainable(inception)
    assert counts.pop("conv2d_56") == counts["mixed5"]
    assert {point: f"{count + head:.3g}" for point, count in counts.items()} == figures
    assert "taken as mixed5" in caplog.text


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("name", ["mobilenet_v2", pytest.param("inception_v3", marks=pytest.mark.slow)])
def test_each_point_further_up_leaves_less_to_train(request, name, learned):
    model = request.getfixturevalue(name.partition("_")[0])
    counts = {}
    for point in UNFREEZE_POINTS[name]:
        backbone.unfreeze(model, name, point, batchnorm="frozen" if learned else "trained")
        counts[point] = trainable(model)
    assert counts.pop("none") == 0
    left = list(counts.values())  # all, then block by block
    assert left == sorted(set(left), reverse=True)
    assert (left[-1] == 0) == (name == "inception_v3")  # mixed10 is its end; MobileNetV2 goes on after block_16


@pytest.mark.slow
def test_a_second_inception_in_one_process_is_the_first_again(inception, backbone_params):
    names = [layer.name for layer in inception.layers]
    shapes = [(weight.path, weight.shape) for weight in inception.weights]
    keras.layers.Conv2D(4, 3)  # would shift the names of a build that starts where the last one ended
    again = backbone.build(backbone_params(name="inception_v3", alpha=1.0, size=75))
    assert [layer.name for layer in again.layers] == names
    assert [(weight.path, weight.shape) for weight in again.weights] == shapes
    ends = [40, 63, 86, 100, 132, 164, 196, 228, 248, 279, 310]  # as counted in nsfw_model's Keras
    assert [names.index(f"mixed{n}") for n in range(11)] == ends
    assert names.index("conv2d_56") == 172  # the article's, after mixed5


def test_weights_come_from_the_file(backbone_params, weights_file):
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    first, again = (backbone.build(backbone_params(weights=str(weights_file)))(pictures) for _ in range(2))
    np.testing.assert_array_equal(first, again)  # random ones would differ


def test_a_missing_weights_file_names_key_and_path(backbone_params, tmp_path):
    with pytest.raises(UserError, match=r"backbone\.weights is .*absent\.weights\.h5.*no such file"):
        backbone.build(backbone_params(weights=str(tmp_path / "absent.weights.h5")))


@pytest.mark.parametrize("content", [b"not HDF5 at all", None], ids=["garbage", "cut"])
def test_a_broken_weights_file_is_named(backbone_params, weights_file, tmp_path, content):
    path = tmp_path / "broken.weights.h5"
    path.write_bytes(weights_file.read_bytes()[:50_000] if content is None else content)
    with pytest.raises(UserError, match=r"broken\.weights\.h5 is cut short, or no HDF5 file.*Copy it here again"):
        backbone.build(backbone_params(weights=str(path)))


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras', before it raises
def test_weights_of_another_alpha_say_which_keys_to_change(backbone_params, weights_file):
    with pytest.raises(UserError, match=r"\(alpha 0\.5\)(.|\n)*backbone\.alpha"):
        backbone.build(backbone_params(alpha=0.5, weights=str(weights_file)))


@pytest.mark.parametrize(
    ("name", "point", "batchnorm"),
    [
        ("mobilenet_v2", "all", "trained"),
        ("mobilenet_v2", "block_12", "trained"),
        ("mobilenet_v2", "all", "frozen"),
        ("mobilenet_v2", "block_12", "frozen"),
        pytest.param("inception_v3", "mixed7", "trained", marks=pytest.mark.slow),
        pytest.param("inception_v3", "mixed7", "frozen", marks=pytest.mark.slow),
    ],
)
def test_fine_tuning_moves_batchnorm_after_the_point_if_it_is_trained(
    backbone_params, params, weights_file, name, point, batchnorm
):
    options = {"name": name, "alpha": 1.0, "size": 75}  # without a file
    if name == "mobilenet_v2":
        options = {"weights": str(weights_file)}
    embed = network.embedder(backbone_params(**options))
    model = network.classifier(embed, network.head(embed.output_shape[-1], 3, params.train, seed=1))
    base = model.get_layer(backbone.NAME)
    backbone.unfreeze(base, name, point, batchnorm=batchnorm)
    objective.compile_model(model, 0.01, "sgd", 0.9)
    model.run_eagerly = True  # the same code, without the seconds that its graph takes
    norms = {weight.path for layer in backbone.batchnorms(base) for weight in layer.weights}
    trained = {weight.path for weight in base.trainable_weights}
    before = {weight.path: weight.numpy() for weight in base.weights}
    rng = np.random.default_rng(0)
    model.fit(rng.uniform(0, 255, (8, *embed.input_shape[1:])), rng.integers(0, 3, 8), batch_size=4, verbose=0)
    moved = {weight.path for weight in base.weights if not np.array_equal(weight.numpy(), before[weight.path])}
    first = backbone.first_trainable(base, name, point)
    after = {weight.path for layer in base.layers[first:] for weight in layer.weights} & norms
    statistics = {path for path in after if "moving_" in path}
    assert moved <= trained | statistics
    assert moved - norms  # something was learned
    assert norms & moved == set() if batchnorm == "frozen" else statistics <= moved <= trained | after
