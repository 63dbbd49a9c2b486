"""The operations that a TensorFlow.js graph may have, each applied with the attributes that are read here."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Attributes = Mapping[str, Any]

_FUSED = ("BiasAdd", "Relu", "Relu6", "Elu", "LeakyRelu", "Sigmoid", "Tanh", "FusedBatchNorm")
_ELEMENTWISE = {
    **dict.fromkeys(("Add", "AddV2"), "add"),
    "Sub": "subtract",
    "Mul": "multiply",
    "RealDiv": "divide",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
_UNARY = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Elu": "elu",
    "Selu": "selu",
    "Softmax": "softmax",
    "Softplus": "softplus",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}
_CONVOLUTIONS = {"Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"}
_POOLS = {"AvgPool": "avg_pool2d", "MaxPool": "max_pool2d"}
_COUNTS = {
    **dict.fromkeys(_ELEMENTWISE, (2, 2)),
    **dict.fromkeys(_UNARY, (1, 1)),
    **dict.fromkeys(("Conv2D", "DepthwiseConv2dNative"), (2, 2)),
    **dict.fromkeys(("_FusedConv2D", "FusedDepthwiseConv2dNative"), (2, 4)),
    **dict.fromkeys(_POOLS, (1, 1)),
    "MatMul": (2, 2),
    "_FusedMatMul": (2, 4),
    "BiasAdd": (2, 2),
    "Identity": (1, 1),
    "Squeeze": (1, 1),
    "Mean": (2, 2),
    "Reshape": (2, 2),
    "ConcatV2": (3, 64),
    "Pad": (2, 2),
    "FusedBatchNormV3": (5, 5),
}
OPERATIONS = frozenset(_COUNTS)


def check(operation: str, inputs: int, attributes: Attributes) -> None:
    """Check the number of inputs of an accepted operation, and its attributes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: they are not as this operation has them.

    """
    least, most = _COUNTS[operation]
    if not least <= inputs <= most:
        raise ValueError(f"a {operation} takes {inputs} inputs")
    if _text(attributes, "data_format", "NHWC") != "NHWC":
        raise ValueError(f"a {operation} has its channels first")
    for name in ("strides", "ksize", "dilations"):
        if any(not 1 <= size <= 4096 for size in _numbers(attributes, name)):
            raise ValueError(f"a {operation} has {name} {_numbers(attributes, name)}")
    fused = _texts(attributes, "fused_ops")
    if unknown := [name for name in fused if name not in _FUSED]:
        raise ValueError(f"a {operation} is fused with {unknown[0]}")
    if operation.startswith(("_Fused", "FusedDepthwise")) and fused[:1] != ["BiasAdd"]:
        raise ValueError(f"a {operation} is fused with {fused or 'nothing'}")
    if operation in _CONVOLUTIONS | _POOLS.keys() and _text(attributes, "padding", "") not in {"SAME", "VALID"}:
        raise ValueError(f"a {operation} has the padding {_text(attributes, 'padding', '')!r}")
    if attributes.get("is_training", {}).get("b"):
        raise ValueError(f"a {operation} is one of training")


def apply(operation: str, taken: Sequence[Any], attributes: Attributes) -> Any:
    """Return an accepted operation's output for its inputs, as TensorFlow computes it."""
    import tensorflow as tf

    if operation in _ELEMENTWISE:
        return getattr(tf.math, _ELEMENTWISE[operation])(*taken)
    if operation in _UNARY:
        return getattr(tf.nn, _UNARY[operation])(taken[0])
    if operation in _CONVOLUTIONS:
        return _fused(_convolution(operation, taken, attributes), taken[2:], attributes)
    if operation in _POOLS:
        pool = getattr(tf.nn, _POOLS[operation])
        ksize, strides = _numbers(attributes, "ksize"), _numbers(attributes, "strides")
        return pool(taken[0], ksize, strides, _text(attributes, "padding", ""))
    if operation in {"MatMul", "_FusedMatMul"}:
        flags = {name: bool(attributes.get(name, {}).get("b")) for name in ("transpose_a", "transpose_b")}
        return _fused(tf.linalg.matmul(taken[0], taken[1], **flags), taken[2:], attributes)
    return _OTHERS[operation](taken, attributes)


def _convolution(operation: str, taken: Sequence[Any], attributes: Attributes) -> Any:
    import tensorflow as tf

    padding, strides = _text(attributes, "padding", ""), _numbers(attributes, "strides")
    dilations = _numbers(attributes, "dilations") or [1, 1, 1, 1]
    if "epthwise" in operation:
        return tf.nn.depthwise_conv2d(taken[0], taken[1], strides, padding, dilations=dilations[1:3])
    return tf.nn.conv2d(taken[0], taken[1], strides, padding, dilations=dilations)


def _fused(output: Any, others: Sequence[Any], attributes: Attributes) -> Any:
    """Apply what is fused with an operation: a bias, and an activation."""
    import tensorflow as tf

    for name in _texts(attributes, "fused_ops"):
        if name == "BiasAdd":
            output = tf.nn.bias_add(output, others[0])
        elif name == "LeakyRelu":
            output = tf.nn.leaky_relu(output, float(attributes["leakyrelu_alpha"]["f"]))
        else:
            output = getattr(tf.nn, _UNARY[name])(output)
    return output


def _squeeze(taken: Sequence[Any], attributes: Attributes) -> Any:
    import tensorflow as tf

    return tf.squeeze(taken[0], _numbers(attributes, "squeeze_dims") or _numbers(attributes, "axis") or None)


def _mean(taken: Sequence[Any], attributes: Attributes) -> Any:
    import tensorflow as tf

    return tf.reduce_mean(taken[0], taken[1], keepdims=bool(attributes.get("keep_dims", {}).get("b")))


def _batch_norm(taken: Sequence[Any], attributes: Attributes) -> Any:
    import tensorflow as tf

    x, scale, offset, mean, variance = taken
    return tf.nn.batch_normalization(x, mean, variance, offset, scale, float(attributes["epsilon"]["f"]))


def _plain(name: str) -> Callable[[Sequence[Any], Attributes], Any]:
    def function(taken: Sequence[Any], _: Attributes) -> Any:
        import tensorflow as tf

        return getattr(tf, name)(*taken)

    return function


def _concat(taken: Sequence[Any], _: Attributes) -> Any:
    import tensorflow as tf

    return tf.concat(list(taken[:-1]), taken[-1])


def _bias_add(taken: Sequence[Any], _: Attributes) -> Any:
    import tensorflow as tf

    return tf.nn.bias_add(*taken)


_OTHERS: dict[str, Callable[[Sequence[Any], Attributes], Any]] = {
    "BiasAdd": _bias_add,
    "ConcatV2": _concat,
    "FusedBatchNormV3": _batch_norm,
    "Identity": lambda taken, _: taken[0],
    "Mean": _mean,
    "Pad": _plain("pad"),
    "Reshape": _plain("reshape"),
    "Squeeze": _squeeze,
}


def shape(document: Mapping[str, Any]) -> list[int]:
    """Return the sizes of a shape as a graph's JSON has it; -1: any."""
    return [int(entry["size"]) for entry in document.get("dim", ())]


def _numbers(attributes: Attributes, name: str) -> list[int]:
    return [int(value) for value in attributes.get(name, {}).get("list", {}).get("i", ())]


def _texts(attributes: Attributes, name: str) -> list[str]:
    return [base64.b64decode(value).decode() for value in attributes.get(name, {}).get("list", {}).get("s", ())]


def _text(attributes: Attributes, name: str, default: str) -> str:
    return base64.b64decode(attributes[name]["s"]).decode() if name in attributes else default
