"""Small ONNX files of features, as the owners of CLIP, SigLIP or DINO export theirs."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

FEATURES = 12


def save_features(
    path: Path, size: int, *, channels_first: bool = True, batch: str | int = "batch", outputs: tuple[str, ...] = ()
) -> Path:
    """Write a network of one convolution and a pool, (n, 3, size, size) pictures to (n, 12); return the path.

    `outputs`: names of its outputs (n, 12), beside `last_hidden_state`, which is no feature of a picture.
    """
    rng = np.random.default_rng(8)
    kernel = numpy_helper.from_array(rng.normal(0, 0.5, (FEATURES, 3, 3, 3)).astype(np.float32), "kernel")
    names = outputs or ("image_embeds",)
    shape = [batch, 3, size, size] if channels_first else [batch, size, size, 3]
    first = [] if channels_first else [helper.make_node("Transpose", ["pixel_values"], ["turned"], perm=[0, 3, 1, 2])]
    nodes = [
        *first,
        helper.make_node("Conv", ["pixel_values" if channels_first else "turned", "kernel"], ["last_hidden_state"]),
        helper.make_node("Relu", ["last_hidden_state"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        *(helper.make_node("Flatten", ["pooled"], [name], axis=1) for name in names),
    ]
    side = size - 2
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, FEATURES]) for name in names]
    given.append(helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [batch, FEATURES, side, side]))
    taken = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "vision", [taken], given, [kernel])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
