"""Input and output of a Keras model, read from its description without building anything.

A description is a dict {class_name, config}, as in a .keras file's config.json (Keras 3) or in a layers model's
modelTopology (Keras 2). Models may be nested.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MODELS = frozenset({"Functional", "Model", "Sequential"})
# Layers whose output has as many channels as their input.
_KEEP = frozenset(
    {
        *("Activation", "ActivityRegularization", "AlphaDropout", "AveragePooling2D", "BatchNormalization", "Dropout"),
        *("GaussianDropout", "GaussianNoise", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "Identity", "LeakyReLU"),
        *("MaxPooling2D", "ReLU", "Rescaling", "Softmax", "SpatialDropout2D"),
    }
)
_WIDTH = {"Dense": "units", "Conv2D": "filters", "SeparableConv2D": "filters"}

Description = Mapping[str, Any]
Source = tuple[str, int]  # a layer's name, and the number of its call


def layers(model: Description) -> list[dict[str, Any]]:
    """Return the descriptions of a model's layers.

    Raises:
        ValueError: it has none.

    """
    config = model.get("config")
    members = config.get("layers") if isinstance(config, Mapping) else config
    if not isinstance(members, list) or not members or not all(isinstance(layer, dict) for layer in members):
        raise ValueError(f"the model {name(model)!r} has no list of layers")
    return members


def name(layer: Description) -> str:
    """Return a layer's name; "" where it has none."""
    config = layer.get("config")
    inner = config.get("name") if isinstance(config, Mapping) else None
    return str(layer.get("name") or inner or "")


def input_shape(model: Description) -> tuple[int | None, ...]:
    """Return the shape of a model's single input, batch first.

    Raises:
        ValueError: it has none, or several.

    """
    first = _end(model, "input_layers", 0)
    if first["class_name"] in MODELS:
        return input_shape(first)
    config = first["config"]
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if shape is None and model["class_name"] == "Sequential":
        shape = model["config"].get("build_input_shape")  # of a model that was built by its first call
    if not isinstance(shape, Sequence) or not all(size is None or type(size) is int for size in shape):
        raise ValueError(f"the input {name(first)!r} has no shape")
    return tuple(shape)


def classes(model: Description) -> int | None:
    """Return the number of a model's outputs, or None if its last layers do not state it.

    Raises:
        ValueError: it has not exactly one output.

    """
    layer: Description | None = _end(model, "output_layers", -1)
    members = layers(model)
    by_name = {name(member): member for member in members}
    for _ in members:
        if layer is None or layer["class_name"] in MODELS:
            return None if layer is None else classes(layer)
        if layer["class_name"] in _WIDTH:
            width = layer["config"].get(_WIDTH[layer["class_name"]])
            return width if type(width) is int else None
        if layer["class_name"] not in _KEEP:
            return None
        layer = _before(model, layer, by_name)
    return None


def sources(inbound: Any) -> Iterator[Source]:
    """Yield (layer, call number) for each input tensor of a layer's call, in the notation of Keras 2 or 3."""
    if isinstance(inbound, Mapping):
        history = inbound.get("config", {}).get("keras_history") if "class_name" in inbound else None
        if history:
            yield str(history[0]), int(history[1])
            return
        for value in inbound.values():
            yield from sources(value)
    elif isinstance(inbound, list):
        if len(inbound) >= 3 and isinstance(inbound[0], str) and type(inbound[1]) is int:
            yield inbound[0], inbound[1]
            return
        for value in inbound:
            yield from sources(value)


def first_calls(model: Description) -> dict[str, int]:
    """Return for each model inside a model the number that Keras 2 gave its first call.

    Most count from 1, as their own input is call 0 to Keras; it depends on version and kind. Every call is used.
    """
    inner = {name(layer) for layer in layers(model) if layer.get("class_name") in MODELS}
    firsts: dict[str, int] = {}
    for inbound in (model["config"].get("output_layers"), *(layer.get("inbound_nodes") for layer in layers(model))):
        for source, number in _references(inbound):
            if source in inner:
                firsts[source] = min(number, firsts.get(source, number))
    return firsts


def _references(inbound: Any) -> Iterator[Source]:
    """Yield every [layer, call, output] at any depth, also among the arguments of a call."""
    if isinstance(inbound, Mapping):
        inbound = list(inbound.values())
    if isinstance(inbound, list):
        if len(inbound) >= 3 and isinstance(inbound[0], str) and type(inbound[1]) is int:
            yield inbound[0], inbound[1]
        for value in inbound:
            yield from _references(value)


def _end(model: Description, key: str, index: int) -> dict[str, Any]:
    """Return the layer at a model's input or output."""
    members = layers(model)
    if model["class_name"] == "Sequential":
        return members[index]
    ends = {layer for layer, _ in sources(model["config"].get(key))}
    if len(ends) != 1:
        raise ValueError(f"the model {name(model)!r} has {len(ends)} {key.replace('_layers', 's')}, not one")
    wanted = ends.pop()
    for member in members:
        if name(member) == wanted:
            return member
    raise ValueError(f"the model {name(model)!r} has no layer {wanted!r}")


def _before(model: Description, layer: Description, by_name: Mapping[str, Description]) -> Description | None:
    """Return the layer whose output `layer` takes, or None."""
    if model["class_name"] == "Sequential":
        members = layers(model)
        i = next(i for i, member in enumerate(members) if member is layer)
        return members[i - 1] if i else None
    source = next(sources(layer.get("inbound_nodes")), None)
    return None if source is None else by_name.get(source[0])
