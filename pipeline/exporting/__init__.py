"""Exports a registered model for another runtime, checked against the model that serves."""
