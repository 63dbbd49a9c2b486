import logging
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.model import backbone, fit, network
from pipeline.params import UNFREEZE_POINTS


@pytest.fixture(scope="module")
def mobilenet(backbone_params):
    return backbone.build(backbone_params(size=96))


@pytest.mark.parametrize(
    ("name", "alpha", "size", "said", "ends"),
    [
        ("mobilenet_v2", 0.35, 96, None, (-1, 1)),
        ("inception_v3", 1.0, 299, None, (-1, 1)),
        ("mobilenet_v2", 0.35, 96, "unit", (0, 1)),
        ("inception_v3", 1.0, 299, "symmetric", (-1, 1)),
    ],
)
def test_rescaling_is_what_the_weights_were_trained_on(backbone_params, name, alpha, size, said, ends):
    scale, offset = backbone.rescaling(backbone_params(name=name, alpha=alpha, size=size, rescaling=said))
    assert (0 * scale + offset, 255 * scale + offset) == pytest.approx(ends)


def number(layer) -> int:
    """The block that a MobileNetV2 layer belongs to; 0 before block_1, 99 after the last."""
    if layer.name in {"Conv_1", "Conv_1_bn", "out_relu"}:
        return 99
    block = re.match(r"block_(\d+)_", layer.name)
    return int(block[1]) if block else 0


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("point", UNFREEZE_POINTS["mobilenet_v2"])
def test_exactly_what_lies_after_the_point_trains(mobilenet, point, learned):
    backbone.unfreeze(mobilenet, "mobilenet_v2", point, learned=learned)
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
        backbone.unfreeze(mobilenet, "mobilenet_v2", "mixed5", learned=True)


def test_the_articles_generated_name_is_the_block_boundary_and_says_so(caplog):
    names = ["input", "mixed4", "conv2d_50", "mixed5", "conv2d_56", "mixed6"]
    model = SimpleNamespace(layers=[SimpleNamespace(name=name) for name in names])
    with caplog.at_level(logging.WARNING):
        assert backbone.cut(model, "inception_v3", "conv2d_56") == names.index("mixed5") + 1
    assert "conv2d_56" in caplog.text
    assert "mixed5" in caplog.text


@pytest.mark.slow
def test_inception_unfreezes_as_many_weights_as_measured(backbone_params, caplog):
    model = backbone.build(backbone_params(name="inception_v3", alpha=1.0, size=75))
    head = 5 * 2048 + 5
    counts = {}
    # The figures count every layer after the point but BatchNorm, and a head of 10,245.
    for point, millions in {
        "none": 0,
        "mixed9": 6.08,
        "mixed7": 12.8,
        "mixed5": 16.6,
        "conv2d_56": 16.6,
        "all": 21.8,
    }.items():
        backbone.unfreeze(model, "inception_v3", point, learned=True)
        counts[point] = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        assert counts[point] + head == pytest.approx(millions * 1e6 + (head if point == "none" else 0), rel=0.01)
    assert counts["conv2d_56"] == counts["mixed5"]
    assert "taken as mixed5" in caplog.text


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
    with pytest.raises(UserError, match=r"broken\.weights\.h5 does not fit mobilenet_v2 \(alpha 0\.35\)"):
        backbone.build(backbone_params(weights=str(path)))


def test_weights_of_another_alpha_say_which_keys_to_change(backbone_params, weights_file):
    with pytest.raises(UserError, match=r"\(alpha 0\.5\)(.|\n)*backbone\.alpha"):
        backbone.build(backbone_params(alpha=0.5, weights=str(weights_file)))


@pytest.mark.parametrize(
    ("name", "alpha", "size"),
    [("mobilenet_v2", 0.35, 96), pytest.param("inception_v3", 1.0, 75, marks=pytest.mark.slow)],
)
def test_without_network_imagenet_says_what_to_do(backbone_params, monkeypatch, name, alpha, size):
    def refuse(*_args, **_kwargs):
        raise OSError("URL fetch failure on https://storage.googleapis.com/weights_notop.h5: no route")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", refuse)
    with pytest.raises(UserError, match=r"weights_notop\.h5(.|\n)*set backbone\.weights to its path"):
        backbone.build(backbone_params(name=name, alpha=alpha, size=size, weights="imagenet"))


def test_batchnorm_momentum_is_the_params_or_keras_own(mobilenet, backbone_params):
    assert {layer.momentum for layer in backbone.batchnorms(mobilenet)} == {0.999}
    norms = backbone.batchnorms(backbone.build(backbone_params(batchnorm_momentum=0.9)))
    assert [layer.momentum for layer in norms] == [0.9] * 52


@pytest.mark.parametrize("learned", [True, False])
def test_batchnorm_statistics_move_only_where_nothing_was_learned(backbone_params, params, weights_file, learned):
    embed = network.embedder(backbone_params(weights=str(weights_file) if learned else None))
    model = network.classifier(embed, network.head(1280, 3, params.train, seed=1))
    base = model.get_layer(backbone.NAME)
    backbone.unfreeze(base, "mobilenet_v2", "all", learned=learned)
    fit.compile_model(model, 0.01, "sgd", 0.9)
    model.run_eagerly = True  # the same code, without the seconds that its graph takes
    norms = {weight.path for layer in backbone.batchnorms(base) for weight in layer.weights}
    before = {weight.path: weight.numpy() for weight in base.weights}
    rng = np.random.default_rng(0)
    model.fit(rng.uniform(0, 255, (8, 32, 32, 3)), rng.integers(0, 3, 8), batch_size=8, verbose=0)
    moved = {weight.path for weight in base.weights if not np.array_equal(weight.numpy(), before[weight.path])}
    assert moved - norms  # something was learned
    assert (norms & moved == set()) if learned else ({path for path in norms if "moving_" in path} <= moved)
