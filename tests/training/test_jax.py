"""The model uses Keras 3 only, so it can be built and trained on another backend too."""

import importlib.util
import json
import math
import os
import subprocess
import sys

import pytest

STEP = """
import json
import sys

import keras
import numpy as np

from pipeline.model import backbone, network, schedule
from pipeline.params.root import load_params

tensorflow = "tensorflow" in sys.modules
params = load_params()
keras.utils.set_random_seed(1)
small = {"name": "mobilenet_v2", "alpha": 0.35, "weights": sys.argv[1], "weights_sha256": None, "size": 32}
embed = network.embedder(params.backbone.model_copy(update=small))
model = network.classifier(embed, network.head(embed.output_shape[-1], 5, params.train, params.seed))
base = model.get_layer(backbone.NAME)
backbone.unfreeze(base, "mobilenet_v2", "block_12", batchnorm="frozen")
rate = schedule.build(params.finetune.schedule, steps_per_epoch=4, epochs=2)
model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy())


def values(weights):
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in weights}


before = values(model.weights)
rng = np.random.default_rng(0)
loss = model.train_on_batch(rng.uniform(0, 255, (8, 32, 32, 3)).astype("float32"), rng.integers(0, 5, 8))
after = values(model.weights)
saw = {
    "backend": keras.backend.backend(),
    "tensorflow": tensorflow,
    "loss": float(loss),
    "steps": int(model.optimizer.iterations),
    "moved": [path for path in after if not np.array_equal(after[path], before[path])],
    "finite": all(np.isfinite(value).all() for value in after.values()),
    "trainable": list(values(model.trainable_weights)),
    "norms": [path for layer in backbone.batchnorms(base) for path in values(layer.weights)],
}
print(json.dumps(saw))
"""


@pytest.mark.rare
def test_a_step_of_fine_tuning_on_jax_moves_what_is_unfrozen_alone(weights_file):
    if not importlib.util.find_spec("jax"):
        pytest.skip("needs jax: make install EXTRAS=jax")
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", STEP, str(weights_file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    saw = json.loads(done.stdout.splitlines()[-1])
    assert saw["backend"] == "jax"
    assert not saw["tensorflow"], "backbone, network or schedule imports it"
    assert math.isfinite(saw["loss"])
    assert saw["finite"]
    assert saw["steps"] == 1
    assert len(saw["trainable"]) == 13 + 6  # block_13 to Conv_1, and the head
    assert set(saw["moved"]) == set(saw["trainable"])
    assert len(saw["norms"]) == 4 * 52
    assert not set(saw["norms"]) & set(saw["moved"])
