"""Fixtures: a small backbone and its weights on disk."""

from tests.support.backbone_fixtures import backbone_params, no_augmentation, params, weights_file

__all__ = ["backbone_params", "no_augmentation", "params", "weights_file"]  # fixtures
