"""Fixtures: a small backbone, with params that a test can vary, and its weights on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.params.augment import Augment
from pipeline.params.backbone import Backbone
from pipeline.params.root import Params, load_params


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's own params."""
    return load_params(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture(scope="session")
def backbone_params() -> Callable[..., Backbone]:
    """Return params of MobileNetV2 0.35 at 32 px from scratch, with the given changes."""

    def make(**changes) -> Backbone:
        plain = {
            "name": "mobilenet_v2",
            "alpha": 0.35,
            "weights": None,
            "weights_sha256": None,
            "size": 32,
            "rescaling": None,
        }
        return Backbone.model_validate(plain | changes)

    return make


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory, backbone_params) -> Path:
    """Random weights in place of learned ones. BatchNorm's statistics fit them, else the features would vanish."""
    from pipeline.model import backbone

    path = tmp_path_factory.mktemp("weights") / "random.weights.h5"
    model = backbone.build(backbone_params())
    for layer in backbone.batchnorms(model):
        layer.momentum = 0.0
    model(np.random.default_rng(0).uniform(-1, 1, (16, 32, 32, 3)), training=True)
    model.save_weights(path)
    return path


@pytest.fixture
def no_augmentation() -> Augment:
    """Ranges that do not change a picture."""
    return Augment(rotation=0.0, shift=0.0, shear=0.0, zoom=0.0, flip=False, channel_shift=0.0, crop=0.0)
