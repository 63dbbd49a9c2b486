"""Every row of the table of backbones, by the same tests: small inputs, random weights."""

import re
import sys
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.core.backbone_table import BACKBONES
from pipeline.exporting import formats
from pipeline.exporting.graph import Source
from pipeline.model import backbone, network, objective
from pipeline.model_import import keras_file
from pipeline.serving.networks import Adapter

pytestmark = pytest.mark.untraced

# What is always built: the article's network, that of the sample and of nsfwjs, and one that rescales by itself. The
# others take minutes to build, save and convert.
ALWAYS = {"inception_v3", "mobilenet_v2", "mobilenet_v3_small"}
# What is always converted: each of the others takes up to a minute.
CONVERTED = {"mobilenet_v2"}
CLASSES = 3


def each_row(always: Collection[str]) -> pytest.MarkDecorator:
    """Run a test for every row; those not in `always` only when it is asked for."""
    rows = [pytest.param(name, marks=() if name in always else pytest.mark.rare) for name in BACKBONES]
    return pytest.mark.parametrize("name", rows, indirect=True, scope="module")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name in ALWAYS else pytest.mark.rare) for name in BACKBONES]
)
def name(request) -> str:
    """Each row, one after the other: pytest runs all of a row's tests before the next row's."""
    return request.param


@pytest.fixture(scope="module")
def options(name):
    spec = BACKBONES[name]
    return {"name": name, "alpha": min(spec.alphas), "size": spec.smallest}


@pytest.fixture(scope="module")
def embed(backbone_params, options):
    return network.embedder(backbone_params(**options))


@pytest.fixture(scope="module")
def built(embed):
    return embed.get_layer(backbone.NAME)


@pytest.fixture(scope="module")
def pixels(options):
    """Pictures of different colours, as pictures of pure noise look alike to a network."""
    size = options["size"]
    levels = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (9, 9, 9)]).reshape(5, 1, 1, 3)
    noise = np.random.default_rng(3).normal(0, 40, (5, size, size, 3))
    return np.clip(levels + noise, 0, 255).round().astype(np.float32)


def build_published(options) -> keras.Model:
    """Return Keras' own network with its preprocessing, if that is inside, and random weights."""
    spec = BACKBONES[options["name"]]
    width = {"alpha": options["alpha"]} if len(spec.alphas) > 1 else {}
    shape = (options["size"], options["size"], 3)
    theirs = getattr(keras.applications, spec.builder)(
        weights=None, include_top=False, input_shape=shape, pooling="avg", **width
    )
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(0.3 * np.ones_like(layer.gamma))  # it begins with 1e-6: the block would be nothing
    return theirs


@pytest.fixture(scope="module")
def published(embed, built, pixels, options, tmp_path_factory):
    """What Keras' own network makes of the pictures: its rescaled pixels, its features; ours has loaded its weights.

    The normalizations' statistics fit the weights, else the features would vanish. The file is like Keras' own.
    """
    theirs = build_published(options)
    module = sys.modules[getattr(keras.applications, BACKBONES[options["name"]].builder).__module__]
    given = module.preprocess_input(pixels.copy())
    theirs(given, training=True)
    for layer in theirs.layers:  # a channel that hardly varies over five small pictures would amplify every last bit
        if isinstance(layer, keras.layers.BatchNormalization):
            variance = np.array(layer.moving_variance)
            layer.moving_variance.assign(np.maximum(variance, variance.mean()))
    path = tmp_path_factory.mktemp("published") / "theirs.h5"
    theirs.save(path)
    built.load_weights(path)  # as keras.applications loads them
    rescaled = given
    for layer in theirs.layers[1:]:
        if not isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
            break
        rescaled = layer(rescaled)
    return np.array(rescaled), np.array(theirs(given, training=False))


@pytest.fixture(scope="module")
def saved(published, embed, pixels, params, tmp_path_factory):
    """A saved classifier, and its answers."""
    head = network.head(embed.output_shape[-1], CLASSES, params.train, seed=1)
    first = head.layers[1]
    first.kernel.assign(first.kernel / max(1.0, float(np.abs(published[1]).max())))  # else a softmax of one class alone
    classifier = network.classifier(embed, head)
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    network.save(classifier, path)
    return path, np.array(classifier([pixels], training=False))


@pytest.fixture(scope="module")
def loaded(saved):
    return network.load(saved[0])


def sources(operation) -> set[str]:
    """The layers whose outputs a layer takes, through operations that are no layers (ConvNeXt adds by +)."""
    names = set()
    for node in operation._inbound_nodes:
        for tensor in node.input_tensors:
            source = tensor._keras_history.operation
            names |= {source.name} if isinstance(source, keras.layers.Layer) else sources(source)
    return names


def test_every_layer_has_a_block_and_none_lies_before_its_inputs(built, name):
    blocks = backbone.block_of_layer(built, name)
    assert list(blocks) == [layer.name for layer in built.layers]
    numbers = list(blocks.values())
    assert numbers == sorted(numbers)
    assert set(numbers) >= set(range(len(BACKBONES[name].blocks)))  # each point ends a block with layers of its own
    assert max(numbers) <= len(BACKBONES[name].blocks)
    for layer in built.layers:
        assert all(blocks[source] <= blocks[layer.name] for source in sources(layer))


def test_each_point_trains_the_blocks_after_it(built, name):
    blocks = backbone.block_of_layer(built, name)
    for index, point in enumerate(BACKBONES[name].blocks):
        backbone.unfreeze(built, name, point, batchnorm="trained")
        assert {layer.name for layer in built.layers if layer.trainable} == {
            layer for layer, block in blocks.items() if block > index
        }
    for point, wanted in (("all", len(built.layers)), ("none", 0)):
        backbone.unfreeze(built, name, point, batchnorm="trained")
        assert sum(layer.trainable for layer in built.layers) == wanted


def test_frozen_normalizations_stay_frozen_after_each_point(built, name):
    left = []
    for point in ("all", *BACKBONES[name].blocks, "none"):
        backbone.unfreeze(built, name, point, batchnorm="frozen")
        assert not any(layer.trainable for layer in backbone.batchnorms(built))
        left.append(sum(int(np.prod(weight.shape)) for weight in built.trainable_weights))
    assert left == sorted(left, reverse=True)
    assert left[0] > 0 == left[-1]
    # Each block but the last ones has weights of its own, beside its normalizations.
    assert all(before > after for before, after in pairwise(left[:-1]))


def test_imagenet_weights_see_pixels_as_keras_prepares_them(published, backbone_params, options, pixels):
    scale, offset = backbone.rescaling(backbone_params(**options))
    np.testing.assert_allclose(pixels * np.array(scale) + np.array(offset), published[0], atol=1e-5)


def test_features_are_those_of_keras_own_network(published, embed, pixels):
    _, features = published
    assert features.shape == (len(pixels), embed.output_shape[-1])
    assert np.ptp(features, axis=0).max() > 0.1
    # Random weights amplify the last bits of the rescaling, by how much depends on the processor.
    ours = np.array(embed([pixels], training=False))
    assert np.corrcoef(ours.ravel(), features.ravel())[0, 1] > 0.99


def test_it_passes_inspection_and_the_safe_loader(saved, loaded, pixels, options):
    path, answers = saved
    assert np.ptp(answers, axis=0).max() > 1e-3
    info = keras_file.inspect(path, path.stat().st_size)
    assert (info.size, info.classes) == (options["size"], CLASSES)
    np.testing.assert_allclose(loaded([pixels], training=False), answers, atol=1e-6)


def exported(kind: formats.Format, saved, pixels, folder) -> None:
    path, answers = saved
    source = Source(path, Adapter(), pixels.shape[1], CLASSES)
    run = formats.load(kind, formats.convert(kind, source, "none", folder))
    # Random weights amplify the last bits of an operator: the comparison is with how much the answers differ.
    assert np.abs(run(pixels) - answers).max() < 0.02 * np.ptp(answers)


@each_row(CONVERTED)
def test_it_is_exported_to_onnx(saved, pixels, tmp_path):
    exported("onnx", saved, pixels, tmp_path)


@each_row(CONVERTED)
def test_it_is_exported_to_litert(saved, pixels, tmp_path):
    exported("litert", saved, pixels, tmp_path)


def test_two_steps_train_what_lies_after_a_point(loaded, name, pixels):
    """As fine-tuning does, from the saved model."""
    base = loaded.get_layer(backbone.NAME)
    blocks = BACKBONES[name].blocks
    backbone.unfreeze(base, name, blocks[len(blocks) // 2], batchnorm="frozen")
    objective.compile_model(loaded, 0.01, "sgd", 0.9)
    loaded.run_eagerly = True  # the same code, without the seconds that its graph takes
    before = {weight.path: weight.numpy() for weight in base.weights}
    loaded.fit(pixels[:4], np.array([0, 1, 2, 0]), batch_size=2, verbose=0)
    moved = {weight.path for weight in base.weights if not np.array_equal(weight.numpy(), before[weight.path])}
    assert moved
    assert moved <= {weight.path for weight in base.trainable_weights}


def test_the_documentation_lists_every_row():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("`"): row[1:] for row in rows if len(row) == 5}
    assert list(documented) == list(BACKBONES)
    for name, (alphas, smallest, input_range, points) in documented.items():
        spec = BACKBONES[name]
        assert [float(alpha) for alpha in alphas.split()] == list(spec.alphas)
        assert (int(smallest), input_range) == (spec.smallest, spec.input_range)
        named = re.findall(r"`(\w+)`", points)
        assert set(named) <= set(spec.blocks)
        assert (named[0], named[-1]) == (spec.blocks[0], spec.blocks[-1])
