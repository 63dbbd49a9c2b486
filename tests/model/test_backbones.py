"""Every row of the table of backbones, by the same tests: small inputs, random weights."""

from itertools import pairwise

import keras
import numpy as np
import pytest

from pipeline.core.backbone_table import BACKBONES
from pipeline.model import backbone


@pytest.fixture(scope="module", params=BACKBONES)
def name(request) -> str:
    """Each row, one after the other: pytest runs all of a row's tests before the next row's."""
    return request.param


@pytest.fixture(scope="module")
def options(name):
    spec = BACKBONES[name]
    return {"name": name, "alpha": min(spec.alphas), "size": spec.smallest}


@pytest.fixture(scope="module")
def built(backbone_params, options):
    return backbone.build(backbone_params(**options))


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
