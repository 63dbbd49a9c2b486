import os
import pickle

import pytest

from pipeline.core.errors import UserError
from pipeline.model_import import inspection, loading
from pipeline.tracking import lineage
from tests.support.foreign_models import save_calls, save_keras, save_onnx, save_tfjs

SAVE = {"tfjs": save_tfjs, "keras": save_keras, "saved_model": save_calls, "onnx": save_onnx}


@pytest.mark.parametrize("kind", SAVE)
def test_the_format_is_guessed_and_the_copy_has_the_digest(kind, tmp_path):
    (tmp_path / "theirs").mkdir()
    path, guessed = loading.locate(SAVE[kind](tmp_path / "theirs"), None)
    assert guessed == kind
    sha256 = loading.checked_digest(path, kind, None, 2**30)
    loading.convert(path, kind, tmp_path / "copy.keras", sha256, 2**30)
    if kind != "tfjs":
        assert lineage.digest(tmp_path / "copy.keras") == sha256
    assert loading.checked_digest(path, kind, sha256.upper(), 2**30) == sha256


def test_a_layers_models_digest_is_that_of_its_files_alone(tmp_path):
    path = save_tfjs(tmp_path)
    digest = loading.checked_digest(path, "tfjs", None, 2**30)
    assert digest == lineage.digest(tmp_path)
    (tmp_path / "README.md").write_text("more")
    assert loading.checked_digest(path, "tfjs", None, 2**30) == digest
    shard = tmp_path / "group1-shard1of1.bin"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert loading.checked_digest(path, "tfjs", None, 2**30) != digest


@pytest.mark.parametrize("kind", SAVE)
def test_another_digest_or_size_is_refused_before_anything_is_loaded(kind, tmp_path, nothing_loads):
    path, _ = loading.locate(SAVE[kind](tmp_path), None)
    with nothing_loads():
        with pytest.raises(UserError, match=r"its SHA-256 is [0-9a-f]{64}, and --sha256 says 00"):
            loading.checked_digest(path, kind, "0" * 64, 2**30)
        with pytest.raises(UserError, match="--max-mb"):
            loading.checked_digest(path, kind, None, 100)


def test_a_file_that_changes_while_it_is_copied_is_refused(tmp_path):
    path = save_onnx(tmp_path)
    sha256 = loading.checked_digest(path, "onnx", None, 2**30)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(UserError, match="changed while it was read"):
        loading.convert(path, "onnx", tmp_path / "copy", sha256, 2**30)


def test_what_is_no_model_is_told(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        loading.locate(tmp_path / "absent", None)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UserError, match="no known format"):
        loading.locate(tmp_path / "a.txt", None)
    with pytest.raises(UserError, match="no SavedModel"):
        loading.parts(tmp_path, "saved_model")
    with pytest.raises(UserError, match="is a file, so it is no model of format saved_model"):
        loading.locate(tmp_path / "a.txt", "saved_model")


def test_what_would_block_a_reader_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        loading.locate(tmp_path / "pipe.onnx", None)
    path = save_tfjs(tmp_path)
    (tmp_path / "group1-shard1of1.bin").unlink()
    os.mkfifo(tmp_path / "group1-shard1of1.bin")
    with pytest.raises(UserError, match="is no file"):
        loading.checked_digest(path, "tfjs", None, 2**30)


def test_a_files_words_cannot_command_the_terminal(tmp_path):
    message = str(inspection.refusal(tmp_path, "layer '\x1b]0;evil\x07'"))
    assert message.endswith("layer '?]0;evil?'")


def test_a_pickle_by_any_name_is_called_one(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps([1]))
    assert loading.locate(path, None)[1] == "keras"
    with pytest.raises(UserError, match="a Python pickle"):
        loading.inspect(("keras", path, 2**20))


def test_a_broken_list_of_classes_is_refused(tmp_path):
    (tmp_path / "metadata.json").write_text('{"labels": "a,b"}')
    with pytest.raises(UserError, match="no list"):
        loading.labels_beside(tmp_path / "model.json", "tfjs")
    (tmp_path / "metadata.json").write_text("{}")
    assert loading.labels_beside(tmp_path / "model.json", "tfjs") is None


def test_a_byte_order_mark_is_no_part_of_a_class(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfdrawings\r\nneutral\r\n")
    assert loading.labels_beside(tmp_path / "theirs.h5", "keras_2") == ("drawings", "neutral")
