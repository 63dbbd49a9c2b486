"""Whatever a file contains, its inspection gives a description or a refusal, never an exception of a library."""

import copy
import json
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.model_import import loading, onnx_file, tfjs_weights
from pipeline.model_import.inspection import ModelInfo, refuse_on_error
from tests.support.foreign_models import save_keras, save_onnx, save_tfjs

LIMIT = 2**22
ODD = st.one_of(
    st.sampled_from(
        [None, True, -1, 2**70, 1e400, float("nan"), "", "\0", "Dense", "InputLayer", [], {}, [[]], {"a": []}]
    ),
    st.integers(-2, 5),
    st.lists(st.sampled_from([None, 1, "a", [], {}]), max_size=3),
    st.just("x" * 5000),
)
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def containers(node) -> list:
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return ([node] if node and isinstance(node, dict | list) else []) + [
        one for value in inner for one in containers(value)
    ]


def mutated(data, document):
    """Return a copy with a few values replaced by odd ones, or removed."""
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        nodes = containers(document)
        if not nodes:
            break
        node = nodes[data.draw(st.integers(0, len(nodes) - 1))]
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        if data.draw(st.booleans()):
            node[key] = data.draw(ODD)
        else:
            del node[key]
    return document


def inspected(kind, path) -> ModelInfo | None:
    """Any exception but a refusal fails the test."""
    try:
        return loading.inspect((kind, path, LIMIT))
    except UserError as error:
        message = str(error)
    assert len(message) < 2000
    return None


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("{'a': 'x', 'b': 'y'}", None),
        ('{"a": "x"}', None),
        ("{None: 'x', 1: 'y'}", None),
        ("{[]: 'x'}", None),
        ("{1: ['x'], 0: 'y'}", None),
        ('{"1": "x", "0": "y"}', ("y", "x")),
        ('["\\u00e9", "b"]', ("é", "b")),
        ("[" * 5000, None),
        ("{" * 5000, None),
        ("{1: 'x', 1e400: 'y'}", None),
        ("", None),
        ("null", ("null",)),
        ("3.5", None),
        ("a," * 2**16, None),
        ("[1, 2]", ("1", "2")),
    ],
)
def test_an_onnx_files_classes_are_names_or_nothing(tmp_path, text, labels):
    path = save_onnx(tmp_path, edit=lambda model: model.metadata_props.add(key="names", value=text))
    assert onnx_file.inspect(path, LIMIT).labels == labels


@FUZZ
@given(
    st.text(max_size=20)
    | st.sampled_from(["{", "["]).flatmap(lambda start: st.text("{}[]'\":,01ax\\", max_size=30).map(start.__add__))
)
def test_whatever_an_onnx_files_metadata_say(tmp_path, text):
    path = save_onnx(tmp_path, edit=lambda model: model.metadata_props.add(key="labels", value=text))
    labels = onnx_file.inspect(path, LIMIT).labels
    assert labels is None or all(isinstance(label, str) for label in labels)


@FUZZ
@given(st.data())
def test_whatever_an_onnx_files_bytes_are(tmp_path, data):
    path = save_onnx(tmp_path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    inspected("onnx", path)


@pytest.fixture(scope="module")
def keras_members(tmp_path_factory) -> dict[str, bytes]:
    with zipfile.ZipFile(save_keras(tmp_path_factory.mktemp("keras"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@FUZZ
@given(st.data())
def test_whatever_a_keras_files_description_says(tmp_path, keras_members, data):
    document = mutated(data, json.loads(keras_members["config.json"]))
    path = tmp_path / "theirs.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (keras_members | {"config.json": json.dumps(document).encode()}).items():
            archive.writestr(name, content)
    inspected("keras", path)


@pytest.fixture(scope="module")
def layers_model(tmp_path_factory):
    path = save_tfjs(tmp_path_factory.mktemp("tfjs"))
    return path, json.loads(path.read_text())


@FUZZ
@given(st.data())
def test_whatever_a_layers_models_description_says(layers_model, data):
    path, document = layers_model
    path.write_text(json.dumps(mutated(data, document)))
    inspected("tfjs", path)


@FUZZ
@given(st.data())
def test_whatever_a_layers_models_manifest_says_its_weights_are_read_or_refused(layers_model, data):
    path, document = layers_model
    manifest = mutated(data, document["weightsManifest"])
    path.write_text(json.dumps(document | {"weightsManifest": manifest}))
    try:
        weights = tfjs_weights.read_weights(path)
    except UserError:
        return
    assert all(isinstance(name, str) for name in weights)


def test_what_breaks_a_reader_is_refused_but_what_explains_itself_passes(tmp_path):
    with pytest.raises(UserError, match=r"is refused.*KeyError: 'a'"), refuse_on_error(tmp_path / "x"):
        raise KeyError("a")
    with pytest.raises(UserError, match=r"^mine$"), refuse_on_error(tmp_path):
        raise UserError("mine")
    for passing in (MemoryError(), PermissionError(13, "denied", "x")):
        with pytest.raises(type(passing)), refuse_on_error(tmp_path):
            raise passing
