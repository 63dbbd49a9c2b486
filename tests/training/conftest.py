"""A small backbone, its weights on disk, and what varies one of its params."""

from tests.support.backbone_fixtures import backbone_params, no_augmentation, params, weights_file

__all__ = ["backbone_params", "no_augmentation", "params", "weights_file"]  # fixtures
