import errno
import json
import os
import stat

import pytest

from pipeline.core import files
from pipeline.core.errors import UserError, explain
from pipeline.core.files import atomic, read_json, write_json
from tests.support.pictures import tree


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent  # a rename across file systems is a copy
        temporary.write_text("old")
    with pytest.raises(ValueError, match="not a number"), atomic(path) as temporary:
        temporary.write_text("half") and int("not a number")
    assert tree(path.parent) == {"a.txt": b"old"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_full_disk_is_one_error_whoever_wrote(tmp_path):
    class ResourceExhaustedError(Exception):
        """Like TensorFlow's error: no OSError, and without errno."""

    message = f"{tmp_path}/.a.tmp; {os.strerror(errno.ENOSPC)}"
    with pytest.raises(OSError, match="No space left") as caught, atomic(tmp_path / "a"):
        raise ResourceExhaustedError(message)
    assert str(tmp_path / "a") in explain(caught.value)
    assert tree(tmp_path) == {}


def test_json_is_sorted_and_stays_what_it_was(tmp_path):
    write_json({"b": [1, 2.5, None], "a": "ü"}, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.index('"a"') < text.index('"b"')
    assert "ü" in text
    assert text.endswith("}\n")
    assert read_json(tmp_path / "a.json") == json.loads(text) == {"b": [1, 2.5, None], "a": "ü"}
    with pytest.raises(TypeError):
        write_json({"a": object()}, tmp_path / "a.json")
    assert read_json(tmp_path / "a.json")["a"] == "ü"


@pytest.mark.parametrize(
    ("content", "words"), [(None, "does not exist"), (b'{"a"', "not valid"), (b"\xff", "not valid")]
)
def test_a_json_that_cannot_be_read_is_named(tmp_path, content, words):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "dvc repro" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "is a folder"),
        ("file/a.json", "file is no folder"),
        ("file/b/a.json", "file is no folder"),
        ("loop/a.json", "loop is no folder"),
    ],
)
def test_where_no_file_can_be_written_is_named_before_the_work(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for write in (files.check_target, lambda path: files.write_json({}, path)):
        with pytest.raises(UserError, match=words) as caught:
            write(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "loop"]
    files.check_target(tmp_path / "new" / "er" / "a.json")
    files.check_target(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "is no JSON object"),
        ("{}", "lacks a, b.c"),
        ('{"a": 1, "b": 2}', r"lacks b\.c"),
        ('{"a": 1', "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("", "is not valid JSON"),
        (None, "does not exist"),
    ],
)
def test_a_document_of_another_shape_is_named_with_the_way_out(tmp_path, text, words):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        files.read_object(path, "a", "b.c")
    assert str(caught.value).startswith(str(path))
    assert "dvc repro" in str(caught.value)


def test_a_document_with_all_that_is_wanted_is_returned(tmp_path):
    files.write_json({"a": None, "b": {"c": 0}}, tmp_path / "a.json")
    assert files.read_object(tmp_path / "a.json", "a", "b.c") == {"a": None, "b": {"c": 0}}
    with pytest.raises(UserError, match="is a folder"):
        files.read_object(tmp_path)
