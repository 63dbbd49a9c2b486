"""No loader may run while a bad file is inspected."""

from contextlib import contextmanager

import pytest


@pytest.fixture
def nothing_loads(monkeypatch):
    """A context in which every loader fails the test."""

    @contextmanager
    def guard():
        def loader(*_, **__):
            pytest.fail("something was loaded")

        with monkeypatch.context() as patch:
            for name in (
                *("keras.saving.load_model", "keras.models.load_model", "keras.saving.deserialize_keras_object"),
                *("keras.Model.load_weights", "keras.Model.from_config", "keras.Input", "keras.layers.Layer.__init__"),
                *("tensorflow.saved_model.load", "onnxruntime.InferenceSession", "pickle.loads", "pickle.load"),
                *("pipeline.model_import.layers_model.build", "pipeline.serving.networks.load_network"),
            ):
                patch.setattr(name, loader)
            yield

    return guard
