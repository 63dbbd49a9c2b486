"""A SavedModel's graph may contain Python calls and file operations: neither is accepted."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from pipeline.core.errors import UserError
from pipeline.model_import import saved_model
from pipeline.model_import.inspection import ModelInfo
from pipeline.serving.networks import Adapter, load_network
from tests.support.foreign_models import SIZE, network, save_calls, save_saved_model

LIMIT = 64 * 2**20


def file_sum(x):
    """A number that depends on a file's bytes."""
    return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)


def saves(x):
    with tf.control_dependencies([tf.raw_ops.WriteFile(filename="/evil", contents="x")]):
        return x + 0.0


def prints(x):
    tf.print("x", output_stream="file:///evil")
    return x + 0.0


def restores(x):
    return (
        x + tf.raw_ops.RestoreV2(prefix="/etc/ckpt", tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0]
    )


def writes_checkpoint(x):
    tf.raw_ops.SaveV2(prefix="/evil", tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    return x + 0.0


class Forgets(tf.Module):
    """Gives another output each time."""

    def __init__(self):
        super().__init__()
        self.count = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="x")])
    def serve(self, x):
        return tf.nn.softmax(tf.reduce_mean(x, axis=(1, 2)) * self.count.assign(self.count * 2))


def forgetful(folder: Path) -> Path:
    module = Forgets()
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.serve)
    return folder / "saved"


def nested(x):
    """The file is read in a function in a function."""
    return tf.function(lambda y: tf.function(file_sum)(y) + 1.0)(x)


def matching(x):
    return x + tf.cast(tf.size(tf.io.matching_files("/*")), tf.float32)


def calling(within):
    return lambda folder: save_calls(folder, within)


class Learns(tf.Module):
    """What Keras 2 saves beside the answer: a call as in training, with dropout, which moves an average."""

    def __init__(self, spy=None):
        super().__init__()
        self.mean = tf.Variable(tf.zeros(3))
        self.spy = spy

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="x")])
    def serve(self, x):
        return tf.nn.softmax(tf.reduce_mean(x, axis=(1, 2)) - self.mean)

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="x")])
    def learn(self, x):
        colours = tf.reduce_mean(tf.nn.dropout(x, 0.5), axis=(1, 2))
        self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(colours, axis=0))
        if self.spy:
            self.spy(x)
        return tf.nn.softmax(colours - self.mean)


def learner(folder: Path, spy=None) -> Path:
    module = Learns(spy)
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.serve)
    return folder / "saved"


def edited(edit, save=save_calls):
    """Make a valid SavedModel and edit its graph."""

    def make(folder: Path) -> Path:
        path = save(folder)
        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
        edit(saved)
        (path / "saved_model.pb").write_bytes(saved.SerializeToString())
        return path

    return make


def changed(change):
    def make(folder: Path) -> Path:
        path = save_calls(folder)
        change(path)
        return path

    return make


def read_in_graph(saved):
    saved.meta_graphs[0].graph_def.node.add(name="evil", op="ReadFile")


def asks_the_saver(saved):
    meta = saved.meta_graphs[0]
    meta.graph_def.node.add(name="evil", op="Identity", input=[f"^{meta.saver_def.restore_op_name}"])


def saver_is_served(saved):
    meta = saved.meta_graphs[0]
    name = next(f.signature.name for f in meta.graph_def.library.function if "traced_save" in f.signature.name)
    node = meta.graph_def.node.add(name="evil", op="StatefulPartitionedCall")
    node.attr["f"].func.name = name


def saver_is_a_function_of_the_model(saved):
    meta = saved.meta_graphs[0]
    name = next(f.signature.name for f in meta.graph_def.library.function if "traced_restore" in f.signature.name)
    meta.object_graph_def.concrete_functions[name].canonicalized_input_signature.SetInParent()


def another_answer(saved):
    """The graph's signature stays as it was; a loaded model answers with the function that learns."""
    meta = saved.meta_graphs[0]
    nodes = meta.object_graph_def.nodes
    signatures = next(child for child in nodes[0].children if child.local_name == "signatures")
    answer = nodes[next(iter(nodes[signatures.node_id].children)).node_id].bare_concrete_function
    answer.concrete_function_name = next(name for name in meta.object_graph_def.concrete_functions if "learn" in name)


def no_signatures(saved):
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    next(child for child in nodes[0].children if child.local_name == "signatures").local_name = "others"


def saver_reads(saved):
    meta = saved.meta_graphs[0]
    save = next(f for f in meta.graph_def.library.function if "traced_save" in f.signature.name)
    save.node_def.add(name="evil", op="ReadFile")


def custom_saver(saved):
    saved.meta_graphs[0].object_graph_def.nodes[0].registered_saver = "theirs.Saver"


def table(saved):
    saved.meta_graphs[0].object_graph_def.nodes.add().resource.device = "/cpu:0"


def asset(saved):
    saved.meta_graphs[0].asset_file_def.add(filename="../../etc/passwd")


def shape(saved, *sizes):
    tensor = next(iter(saved.meta_graphs[0].signature_def["serving_default"].inputs.values()))
    for dim, size in zip(tensor.tensor_shape.dim, sizes, strict=True):
        dim.size = size


def links(path):
    (path / "variables" / "more").symlink_to("/etc/passwd")


def cut(path):
    graph = path / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-50])


def another_shard(path):
    shard = path / "variables" / "variables.data-00000-of-00001"
    shutil.copyfile(shard, shard.with_name("variables.data-00002-of-00003"))


BAD = {
    "PyFunc": (calling(lambda x: tf.numpy_function(np.negative, [x], tf.float32)), "PyFunc"),
    "EagerPyFunc": (calling(lambda x: tf.py_function(tf.negative, [x], tf.float32)), "EagerPyFunc"),
    "ReadFile": (calling(file_sum), "ReadFile|StringLength"),
    "ReadFile in functions": (calling(nested), "ReadFile|StringLength"),
    "WriteFile": (calling(saves), "WriteFile"),
    "MatchingFiles": (calling(matching), "MatchingFiles"),
    "Print to a file": (calling(prints), "PrintV2|StringFormat"),
    "Restore": (calling(restores), "RestoreV2"),
    "Save": (calling(writes_checkpoint), "SaveV2"),
    "an answer that changes the model": (forgetful, "AssignVariableOp"),
    "ReadFile in the graph": (edited(read_in_graph), "its graph uses the operation ReadFile"),
    "an answer that restores": (edited(asks_the_saver), "saves or restores files"),
    "the saver is served": (edited(saver_is_served), "which is not on the list of accepted ones"),
    "the saver is the model's": (edited(saver_is_a_function_of_the_model), "RestoreV2"),
    "training that reads files": (lambda folder: learner(folder, spy=file_sum), "ReadFile|StringLength"),
    "training that saves": (lambda folder: learner(folder, spy=writes_checkpoint), "SaveV2"),
    "an answer that is not the graph's": (edited(another_answer, save=learner), "AssignVariableOp|RandomUniform"),
    "signatures elsewhere": (edited(no_signatures), "signatures are not where"),
    "the saver reads files": (edited(saver_reads), "ReadFile"),
    "custom saver": (edited(custom_saver), "code of its own"),
    "table": (edited(table), "kind resource"),
    "asset": (edited(asset), "assets"),
    "TensorFlow 1": (edited(lambda saved: saved.meta_graphs[0].ClearField("object_graph_def")), "TensorFlow 1"),
    "two graphs": (edited(lambda saved: saved.meta_graphs.add()), "2 graphs"),
    "no signature": (edited(lambda s: s.meta_graphs[0].signature_def.pop("serving_default")), "no signature"),
    "grey pictures": (edited(lambda saved: shape(saved, -1, 32, 32, 1)), "not that of square RGB"),
    "not square": (edited(lambda saved: shape(saved, -1, 32, 64, 3)), "not that of square RGB"),
    "cut": (changed(cut), "cut short or broken"),
    "no variables": (changed(lambda path: shutil.rmtree(path / "variables")), "variables are missing"),
    "shards of another": (changed(another_shard), "not whole"),
    "link": (changed(links), "holds a link"),
    "assets folder": (changed(lambda path: (path / "assets" / "a.txt").write_text("a")), "assets"),
    "other files": (changed(lambda path: (path / "model.pkl").write_text("a")), r"model\.pkl"),
    "no SavedModel": (changed(lambda path: (path / "saved_model.pb").unlink()), "no SavedModel"),
}


def test_what_is_only_for_training_is_no_reason_to_refuse(tmp_path):
    path = learner(tmp_path)
    assert saved_model.inspect(path, LIMIT) == ModelInfo("saved_model", SIZE, 3)
    pixels = np.random.default_rng(0).uniform(0, 1, (2, SIZE, SIZE, 3)).astype(np.float32)
    answer = load_network(path, Adapter("saved_model"), SIZE, 3)
    np.testing.assert_allclose(answer(pixels), answer(pixels), atol=0)  # nothing has learned in between
    assert np.allclose(answer(pixels).sum(axis=1), 1)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_folder_is_refused_with_its_reason_before_anything_is_loaded(name, tmp_path, nothing_loads):
    make, reason = BAD[name]
    path = make(tmp_path)
    with nothing_loads(), pytest.raises(UserError, match=reason) as refusal:
        saved_model.inspect(path, LIMIT)
    assert "saved" in str(refusal.value)


def test_sound_folders_are_let_in_with_their_shapes(tmp_path, nothing_loads):
    paths = {"keras": save_saved_model(tmp_path, network(classes=4)), "tf": save_calls(tmp_path / "tf")}
    with nothing_loads():
        assert saved_model.inspect(paths["keras"], LIMIT) == ModelInfo("saved_model", SIZE, 4)
        assert saved_model.inspect(paths["tf"], LIMIT) == ModelInfo("saved_model", SIZE, 3)


@pytest.mark.untraced
@pytest.mark.rare  # saving the network takes half of this file's time
def test_keras_own_networks_are_let_in(tmp_path):
    import keras

    model = keras.applications.MobileNetV2(weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.35, classes=5)
    assert saved_model.inspect(save_saved_model(tmp_path, model), LIMIT) == ModelInfo("saved_model", SIZE, 5)


def test_the_size_limit_is_that_of_all_files(tmp_path):
    path = save_calls(tmp_path)
    with pytest.raises(UserError, match="--max-mb"):
        saved_model.inspect(path, 1000)
