"""An ONNX file may refer to other files and to custom operators: neither is accepted."""

import json

import pytest
from onnx import TensorProto, helper

from pipeline.core.errors import UserError
from pipeline.model_import import onnx_file
from pipeline.model_import.inspection import ModelInfo
from tests.support.foreign_models import SIZE, save_onnx

LIMIT = 2**20


def external(tensor):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def external_initializer(model):
    external(model.graph.initializer[0])


def external_attribute(model):
    node = helper.make_node(
        "Constant", [], ["c"], "constant", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    )
    external(node.attribute[0].t)
    model.graph.node.insert(0, node)


def external_inside(model):
    """In a branch of an If."""
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["o"], "copy")],
        "branch",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, [3, 3])],
        [helper.make_tensor("w", TensorProto.FLOAT, [3, 3], [0.0] * 9)],
    )
    external(branch.initializer[0])
    model.graph.node.append(helper.make_node("If", ["x"], ["q"], "if", then_branch=branch, else_branch=branch))


def custom_node(model):
    model.graph.node[2].domain = "com.theirs"


def custom_import(model):
    model.opset_import.add(domain="com.theirs", version=1)


def custom_function(model):
    model.functions.add(name="Evil", domain="com.theirs")


def dims(*sizes):
    def edit(model):
        for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, sizes, strict=True):
            dim.dim_value = size

    return edit


def doubles(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def two_inputs(model):
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))


def flat_output(model):
    del model.graph.output[0].type.tensor_type.shape.dim[1]


BAD = {
    "external data": (external_initializer, "lie in another file"),
    "external data of an attribute": (external_attribute, "lie in another file"),
    "external data in a branch": (external_inside, "lie in another file"),
    "custom domain": (custom_node, r"com\.theirs"),
    "custom operators": (custom_import, r"com\.theirs"),
    "functions": (custom_function, r"com\.theirs"),
    "grey pictures": (dims(1, 1, SIZE, SIZE), "not that of square RGB"),
    "not square": (dims(1, 3, SIZE, 2 * SIZE), "not that of square RGB"),
    "doubles": (doubles, "not float32"),
    "two inputs": (two_inputs, "2 inputs"),
    "output of another rank": (flat_output, "not \\(n, classes\\)"),
    "unknown operator": (lambda model: setattr(model.graph.node[1], "op_type", "Flutten"), "broken"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_reason_before_anything_is_loaded(name, tmp_path, nothing_loads):
    edit, reason = BAD[name]
    path = save_onnx(tmp_path, edit=edit)
    with nothing_loads(), pytest.raises(UserError, match=reason):
        onnx_file.inspect(path, LIMIT)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x08\x0a"])
def test_what_is_no_onnx_file_is_refused(tmp_path, content, nothing_loads):
    path = tmp_path / "theirs.onnx"
    path.write_bytes(content)
    with nothing_loads(), pytest.raises(UserError, match="refused"):
        onnx_file.inspect(path, LIMIT)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_short_is_refused(tmp_path, share, nothing_loads):
    path = save_onnx(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with nothing_loads(), pytest.raises(UserError, match="refused"):
        onnx_file.inspect(path, LIMIT)


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    path = save_onnx(tmp_path)
    monkeypatch.setattr("onnx.load_model_from_string", lambda *_: pytest.fail("parsed"))
    with pytest.raises(UserError, match="--max-mb"):
        onnx_file.inspect(path, 100)


@pytest.mark.parametrize("text", ['["a", "b", "c"]', "a,b, c", "{0: 'a', 2: 'c', 1: 'b'}"])
def test_the_classes_that_a_file_names_are_read(tmp_path, text):
    path = save_onnx(tmp_path, edit=lambda model: model.metadata_props.add(key="names", value=text))
    assert onnx_file.inspect(path, LIMIT) == ModelInfo("onnx", SIZE, 3, "nchw", ("a", "b", "c"))


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    path = save_onnx(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install 'nsfw-pipeline\[onnx\]'"):
        onnx_file.inspect(path, LIMIT)


def test_metadata_of_another_kind_is_no_class_list(tmp_path):
    path = save_onnx(tmp_path, edit=lambda model: model.metadata_props.add(key="labels", value=json.dumps(5)))
    assert onnx_file.inspect(path, LIMIT).labels is None
