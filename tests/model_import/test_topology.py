import json

import keras
import pytest

from pipeline.model_import import topology
from tests.support.foreign_models import SIZE, keras_2, network


def keras_3(model) -> dict:
    return json.loads(model.to_json())


def sequential(*layers):
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers])


CASES = {
    "dense, then softmax": (
        lambda: sequential(keras.layers.Flatten(), keras.layers.Dense(7), keras.layers.Softmax()),
        7,
    ),
    "convolution, then mean": (
        lambda: sequential(keras.layers.Conv2D(6, 3), keras.layers.ReLU(), keras.layers.GlobalAveragePooling2D()),
        6,
    ),
    "a model at the end": (
        lambda: sequential(
            keras.layers.Flatten(), keras.Sequential([keras.layers.Dense(5), keras.layers.Dropout(0.1)])
        ),
        5,
    ),
    "a model at the start": (lambda: sequential(network(classes=4)), 4),
    "only loading tells": (lambda: sequential(keras.layers.Conv2D(6, SIZE), keras.layers.Flatten()), None),
    "nothing but the input's channels": (lambda: sequential(keras.layers.GlobalMaxPooling2D()), None),
    "a graph": (network, 3),
}


@pytest.mark.parametrize("name", CASES)
def test_shapes_are_read_from_the_description(name):
    make, classes = CASES[name]
    model = make()
    assert topology.input_shape(keras_3(model)) == model.input_shape
    assert topology.classes(keras_3(model)) == classes
    assert classes in {None, model.output_shape[-1]}


def test_keras_2s_description_says_the_same():
    model = network(classes=9, size=48)
    assert topology.input_shape(keras_2(model)) == (None, 48, 48, 3)
    assert topology.classes(keras_2(model)) == 9


@pytest.mark.parametrize(
    "broken",
    [
        {"class_name": "Sequential", "config": {"layers": []}},
        {"class_name": "Sequential", "config": {"layers": ["Dense"]}},
        {"class_name": "Sequential", "config": None},
        {"class_name": "Model", "config": {"layers": [{"name": "a"}], "input_layers": [["b", 0, 0]]}},
        {"class_name": "Model", "config": {"layers": [{"name": "a"}], "input_layers": []}},
        {"class_name": "Sequential", "config": [{"class_name": "InputLayer", "config": {"batch_shape": ["x", 1]}}]},
    ],
)
def test_what_describes_no_input_is_an_error(broken):
    with pytest.raises(ValueError, match=r"layer|input|shape"):
        topology.input_shape(broken)
