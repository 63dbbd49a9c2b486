"""A SavedModel folder, inspected before TensorFlow loads it, as its graph could call Python or read and write files.

Only the operations listed below are accepted: arithmetic, convolutions, shapes and variables. What only training needs
(Keras 2 saves each layer's training call too) is accepted where the signature does not reach it, saving and restoring,
which every SavedModel can do, where no function of the model does.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.model_import.inspection import ModelInfo, check_bytes, refusal, side

GRAPH = "saved_model.pb"
SIGNATURE = "serving_default"
_GRAPH_BYTES = 512 * 2**20
_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")
_LEFT_OUT = {"keras_metadata.pb", "labels.txt", "class_labels.txt", "metadata.json"}  # may be there; never loaded

# Loading creates and sets variables. Inference may only read them, else the outputs could change from call to call.
_SETTING = {"AssignVariableOp", "VarHandleOp", "VarIsInitializedOp"}
_FLOW = {"Const", "Identity", "IdentityN", "NoOp", "PartitionedCall", "Placeholder", "PlaceholderWithDefault"} | {
    *(
        "DisableCopyOnRead",
        "PreventGradient",
        "ReadVariableOp",
        "Snapshot",
        "StatefulPartitionedCall",
        "StatelessIf",
        "StopGradient",
    ),
}
_LAYERS = {
    *("AvgPool", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "BiasAdd", "Conv2D", "Conv2DBackpropInput"),
    *("DepthwiseConv2dNative", "Einsum", "Elu", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "LRN"),
    *("LeakyRelu", "LogSoftmax", "MatMul", "MaxPool", "MaxPoolV2", "Relu", "Relu6", "ResizeArea", "ResizeBicubic"),
    *("ResizeBilinear", "ResizeNearestNeighbor", "Selu", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh"),
}
_ARITHMETIC = {
    *("Abs", "Add", "AddN", "AddV2", "All", "Any", "ArgMax", "ArgMin", "Cast", "Ceil", "ClipByValue", "Div"),
    *("DivNoNan", "Equal", "Erf", "Erfc", "Exp", "Expm1", "Floor", "FloorDiv", "FloorMod", "Greater"),
    *("GreaterEqual", "Less", "LessEqual", "Log", "Log1p", "LogicalAnd", "LogicalNot", "LogicalOr", "Max", "Maximum"),
    *("Mean", "Min", "Minimum", "Mul", "Neg", "NotEqual", "Pow", "Prod", "RealDiv", "Reciprocal", "Round", "Rsqrt"),
    *("Select", "SelectV2", "Sign", "Sqrt", "Square", "SquaredDifference", "Sub", "Sum", "TopKV2"),
}
_SHAPES = {
    *("BroadcastArgs", "BroadcastTo", "ConcatV2", "EnsureShape", "ExpandDims", "Fill", "Gather", "GatherNd"),
    *("GatherV2", "MirrorPad", "OnesLike", "Pack", "Pad", "PadV2", "Range", "Rank", "Reshape", "ReverseV2"),
    *("ScatterNd", "Shape", "ShapeN", "Size", "Slice", "SpaceToBatchND", "BatchToSpaceND", "Split", "SplitV"),
    *("Squeeze", "StridedSlice", "Tile", "Transpose", "Unpack", "ZerosLike"),
}
_OPS = _FLOW | _LAYERS | _ARITHMETIC | _SHAPES
_TRAINING = {
    *(
        "AssignAddVariableOp",
        "AssignSubVariableOp",
        "Bitcast",
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
    ),
    *("RngReadAndSkip", "StatelessRandomGetAlg", "StatelessRandomGetKeyCounter", "StatelessRandomNormalV2"),
    *("StatelessRandomUniformFullIntV2", "StatelessRandomUniformIntV2", "StatelessRandomUniformV2"),
}
_SAVER = {"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename", "StaticRegexFullMatch", "StringJoin"}

_OBJECTS = {"bare_concrete_function", "captured_tensor", "constant", "function", "user_object", "variable"}


def inspect(path: Path, max_bytes: int) -> ModelInfo:
    """Return what the folder states about its model; the graph is parsed, not loaded.

    Raises:
        UserError: it is broken or too large, has an operation that is not listed, or is no picture classifier.

    """
    files = parts(path)
    check_bytes(path, sum(file.stat().st_size for file in files), max_bytes)
    check_bytes(path / GRAPH, (path / GRAPH).stat().st_size, _GRAPH_BYTES)
    meta = _meta_graph(path)
    _check_objects(path, meta.object_graph_def)
    _check_operations(path, meta)
    shape, classes = _signature(path, meta)
    size, layout = side(path, shape)
    return ModelInfo("saved_model", size, classes, layout)


def parts(path: Path) -> list[Path]:
    """Return the files that make up the model: the graph, the index and all shards of the variables.

    Raises:
        UserError: one is missing, or there is something else in the folder.

    """
    for entry in sorted(path.rglob("*")):
        if entry.is_symlink():
            raise refusal(path, f"it holds a link, {entry.relative_to(path)}")
    if not (path / GRAPH).is_file():
        raise refusal(path, f"it is no SavedModel: it has no {GRAPH}")
    if any((path / "assets").glob("*")) or any((path / "assets.extra").glob("*")):
        raise refusal(path, "it brings files of its own (assets); a picture classifier needs none")
    shards = sorted(path.glob("variables/*.data-*"))
    named = [match for shard in shards if (match := _SHARD.fullmatch(shard.name))]
    total = int(named[0][2]) if named else 0
    if len(named) < len(shards) or [(int(m[1]), int(m[2])) for m in named] != [(k, total) for k in range(total)]:
        raise refusal(path, f"its variables are not whole: {', '.join(shard.name for shard in shards)}")
    index = path / "variables" / "variables.index"
    if not total or not index.is_file():
        raise refusal(path, "it is cut short: its variables are missing")
    wanted = [path / GRAPH, index, *shards]
    known = {*wanted, path / "fingerprint.pb"}
    odd = [file for file in sorted(path.rglob("*")) if file.is_file() and file not in known]
    odd = [file for file in odd if file.relative_to(path).as_posix() not in _LEFT_OUT]
    if odd:
        raise refusal(path, f"it holds {odd[0].relative_to(path)}, which is no part of a SavedModel")
    return wanted


def _meta_graph(path: Path) -> Any:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / GRAPH).read_bytes())
    except DecodeError as error:
        raise refusal(path, f"{GRAPH} is cut short or broken ({error})") from None
    serving = [meta for meta in saved.meta_graphs if set(meta.meta_info_def.tags) == {"serve"}]
    if len(saved.meta_graphs) != 1 or not serving:
        raise refusal(path, f"it has {len(saved.meta_graphs)} graphs; one, tagged `serve`, is wanted")
    if not serving[0].object_graph_def.nodes:
        raise refusal(path, "TensorFlow 1 made it. Load it in TensorFlow 2 and save it by tf.saved_model.save")
    if serving[0].asset_file_def:
        raise refusal(path, "it reads files of its own (assets); a picture classifier needs none")
    return serving[0]


def _check_objects(path: Path, objects: Any) -> None:
    for node in objects.nodes:
        kind = node.WhichOneof("kind")
        if kind not in _OBJECTS:
            raise refusal(path, f"it holds an object of the kind {kind} (a table, an asset); a classifier needs none")
        if node.registered_saver or node.saveable_objects:
            raise refusal(path, "it restores a part of itself by code of its own")


def _check_operations(path: Path, meta: Any) -> None:
    functions = {function.signature.name: function.node_def for function in meta.graph_def.library.function}
    saver = {meta.saver_def.save_tensor_name.partition(":")[0], meta.saver_def.restore_op_name.partition(":")[0]}
    nodes = [node for node in meta.graph_def.node if node.name not in saver]
    calls = {name: _called(body, functions) for name, body in functions.items()}
    served = _reachable(_called(nodes, functions) | _signatures(path, meta.object_graph_def), calls)
    models = _reachable(set(meta.object_graph_def.concrete_functions), calls)
    _check_nodes(path, nodes, _OPS | _SETTING | functions.keys(), "its graph")
    _check_nodes(path, (node for node in meta.graph_def.node if node.name in saver), _FLOW, "its saver")
    for node in nodes:
        if saver & {name.lstrip("^").partition(":")[0] for name in node.input}:
            raise refusal(path, f"its node {node.name!r} saves or restores files when it is asked for an answer")
    for name, body in functions.items():
        unserved = _OPS | _SETTING | (_TRAINING if name in models else _SAVER)
        allowed = _OPS if name in served else unserved
        _check_nodes(path, body, allowed | functions.keys(), f"its function {name!r}")


def _signatures(path: Path, objects: Any) -> set[str]:
    """Return the functions that TensorFlow makes a loaded model's signatures of; it does not look at the graph's."""
    links = [child.node_id for child in objects.nodes[0].children if child.local_name == "signatures"]
    if len(links) != 1 or not 0 <= links[0] < len(objects.nodes):
        raise refusal(path, "its signatures are not where tf.saved_model.save puts them")
    names: set[str] = set()
    for child in objects.nodes[links[0]].children:
        if not 0 <= child.node_id < len(objects.nodes):
            raise refusal(path, f"its signature {child.local_name!r} is nowhere")
        node = objects.nodes[child.node_id]
        names |= {node.bare_concrete_function.concrete_function_name, *node.function.concrete_functions}
    return names


def _check_nodes(path: Path, nodes: Iterable[Any], allowed: set[str], where: str) -> None:
    for node in nodes:
        if node.op not in allowed:
            raise refusal(path, f"{where} uses the operation {node.op}, which is not on the list of accepted ones")


def _called(nodes: Iterable[Any], functions: Mapping[str, Any]) -> set[str]:
    """Return the functions that the nodes call."""
    names = set()
    for node in nodes:
        names.add(node.op)
        for value in node.attr.values():
            names |= {value.func.name, *(function.name for function in value.list.func)}
    return names & functions.keys()


def _reachable(start: set[str], calls: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(calls.get(name, ()))
    return seen


def _signature(path: Path, meta: Any) -> tuple[list[int | None], int | None]:
    """Return the shape of the input and the number of outputs."""
    from tensorflow.core.framework import types_pb2

    if SIGNATURE not in meta.signature_def:
        raise refusal(path, f"it has no signature {SIGNATURE!r}, only {', '.join(sorted(meta.signature_def))}")
    signature = meta.signature_def[SIGNATURE]
    inputs, outputs = list(signature.inputs.values()), list(signature.outputs.values())
    if len(inputs) != 1 or len(outputs) != 1:
        raise refusal(path, f"it has {len(inputs)} inputs and {len(outputs)} outputs; one of each is wanted")
    if inputs[0].dtype != types_pb2.DT_FLOAT or outputs[0].dtype != types_pb2.DT_FLOAT:
        raise refusal(path, "its input or its output is not float32")
    taken, given = (_sizes(tensor.tensor_shape) for tensor in (inputs[0], outputs[0]))
    if len(given) not in {0, 2}:
        raise refusal(path, f"its output has the shape {tuple(given)}, not (n, classes)")
    return taken, given[1] if given else None


def _sizes(shape: Any) -> list[int | None]:
    return [] if shape.unknown_rank else [None if dim.size < 0 else int(dim.size) for dim in shape.dim]
