import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from pipeline.model import augment, warp_layer
from pipeline.params.augment import Augment

SIZE = 33
# Shifts so large that some pictures come wholly from beyond the edge; with crops.
FAR = Augment(rotation=180.0, shift=0.9, shear=30.0, zoom=0.5, flip=True, channel_shift=60.0, crop=0.5)


@pytest.fixture(scope="module")
def batch() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (200, SIZE, SIZE, 3), np.uint8)  # noise: a pixel off is far off
    return [pixels, *augment.draw(rng, 200, FAR, SIZE)]


@pytest.fixture
def small() -> keras.Model:
    """Pixels to three classes."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE, SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(pooled))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_it_warps_as_augment_does(batch, kind, jit_compile):
    inputs = [keras.Input(array.shape[1:], dtype=array.dtype.name) for array in batch]
    inputs[0] = keras.Input((SIZE, SIZE, 3), dtype=kind)
    model = keras.Model(inputs, warp_layer.Warp()(inputs))
    model.compile(jit_compile=jit_compile)
    wanted = augment.apply(*batch)
    warped = model.predict([batch[0].astype(kind), *batch[1:]], batch_size=64, verbose=0)
    assert warped.dtype == np.float32
    assert np.abs(wanted - batch[0]).mean() > 20  # it does something
    np.testing.assert_allclose(warped, wanted, atol=0.05)


def test_half_precision_around_it_does_not_blur_it(batch):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        warped = warp_layer.Warp()(batch)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(warped, augment.apply(*batch), atol=0.05)


def test_behind_a_warp_a_model_says_what_it_says_of_warped_pictures(batch, small):
    warped = warp_layer.with_warp(small).predict(batch, verbose=0)
    np.testing.assert_allclose(warped, small.predict(augment.apply(*batch), verbose=0), atol=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_what_trains_behind_a_warp_is_the_model_itself(batch, small, jit_compile):
    before = small.get_weights()
    trained = warp_layer.with_warp(small)
    assert [id(weight) for weight in trained.weights] == [id(weight) for weight in small.weights]
    trained.compile("sgd", "sparse_categorical_crossentropy", jit_compile=jit_compile)
    trained.train_on_batch(batch, np.arange(200) % 3)
    assert all((left != right).any() for left, right in zip(before, small.get_weights(), strict=True))
    for left, right in zip(small.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert small.input_shape == (None, SIZE, SIZE, 3)  # pixels alone, as it is saved


ON_JAX = """
import json
import sys

import keras
import numpy as np

from pipeline.model import warp_layer as warp

with np.load(sys.argv[1]) as arrays:
    warped = np.asarray(warp.Warp()([arrays["pixels"], arrays["coefficients"], arrays["channel"]]))
    off = float(np.abs(warped - arrays["wanted"]).max())
print(json.dumps([keras.backend.backend(), "tensorflow" in sys.modules, off]))
"""


@pytest.mark.rare
def test_on_jax_it_warps_the_same(batch, tmp_path):
    pixels, coefficients, channel = batch
    wanted = augment.apply(*batch)
    np.savez(tmp_path / "batch.npz", pixels=pixels, coefficients=coefficients, channel=channel, wanted=wanted)
    if not importlib.util.find_spec("jax"):
        pytest.skip("needs jax: make install EXTRAS=jax")
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", ON_JAX, str(tmp_path / "batch.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    backend, tensorflow, off = json.loads(done.stdout)
    assert (backend, tensorflow) == ("jax", False)
    assert off < 0.05
