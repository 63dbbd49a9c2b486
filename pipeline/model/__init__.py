"""Backbone, head, augmentation, schedule, fitting, export."""
