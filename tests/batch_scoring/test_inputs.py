import os
import socket
import subprocess
from pathlib import Path

import pytest

from pipeline.batch_scoring import inputs
from pipeline.core.errors import UserError

MAX = 1000


def problems(*paths, max_bytes=MAX):
    """Each item's name and the code of its problem."""
    return [(item.name, item.problem.partition(":")[0]) for item in inputs.walk([*map(os.fsencode, paths)], max_bytes)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_a_folder_comes_by_name_depth_first_every_file_once(folder):
    for name in ("b/z.jpg", "b/a.jpg", "a/1.png", "c.txt", ".hidden"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "empty").mkdir()
    assert problems("in") == [(f"in/{name}", "") for name in (".hidden", "a/1.png", "b/a.jpg", "b/z.jpg", "c.txt")]
    assert problems("in/c.txt", "in/a") == [("in/c.txt", ""), ("in/a/1.png", "")]
    assert inputs.count([b"in", b"in/a"]) == 6


def test_loops_pipes_and_sockets_have_their_row_and_are_never_opened(folder):
    (folder / "loop").symlink_to(folder)
    (folder / "dangling").symlink_to("nowhere")
    (folder / "self").symlink_to("self")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("in/socket")
        assert problems("in") == [
            (f"in/{name}", "not_a_file") for name in ("dangling", "loop", "pipe", "self", "socket")
        ]
    assert problems("in/pipe", "/dev/zero") == [("in/pipe", "not_a_file"), ("/dev/zero", "not_a_file")]


def test_a_link_that_was_asked_for_by_name_is_followed(folder):
    (folder / "file").write_bytes(b"content")
    (folder / "link").symlink_to("file")
    (item,) = inputs.walk([b"in/link"], MAX)
    assert (item.name, item.problem) == ("in/link", "")
    assert os.path.basename(item.content.path) == b"file"  # noqa: PTH119 -- bytes


def test_names_of_any_bytes_are_told_in_text(folder):
    (folder / 'two\nlines, "quotes"').write_bytes(b"x")
    with open(os.fsencode(folder) + b"/\xff\xfe.jpg", "wb"):  # noqa: PTH123 -- as above
        pass
    names = [name for name, _ in problems("in")]
    assert names == ['in/two\nlines, "quotes"', "in/\\xff\\xfe.jpg"]
    names[1].encode("utf-8")


def test_what_is_gone_forbidden_or_absurd_has_its_row(folder):
    assert problems("in/nothing", b"a\0b", "x" * 5000) == [
        ("in/nothing", "unreadable"), ("a\0b", "unreadable"), ("x" * 5000, "unreadable"),
    ]  # fmt: skip


def test_a_tree_deeper_than_python_recurses_is_walked(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        for _ in range(1200):
            os.mkdir("d")  # noqa: PTH102
            patch.chdir("d")
        Path("bottom").write_bytes(b"x")
    try:
        assert problems("in") == [("in/" + "d/" * 1200 + "bottom", "")]
    finally:
        subprocess.run(["rm", "-rf", folder / "d"], check=True)  # shutil.rmtree, which pytest tidies up by, recurses


def test_the_stamp_tells_another_content(folder):
    (folder / "a").write_bytes(b"one")
    (first,) = inputs.walk([b"in"], MAX)
    os.utime(folder / "a", ns=(1, 1))
    (later,) = inputs.walk([b"in"], MAX)
    (folder / "a").write_bytes(b"longer")
    os.utime(folder / "a", ns=(1, 1))
    (longer,) = inputs.walk([b"in"], MAX)
    assert len({first.stamp, later.stamp, longer.stamp}) == 3


@pytest.mark.parametrize("content", [b"a.jpg\nb c.jpg\n\n", b"a.jpg\r\nb c.jpg", b"a.jpg\0b c.jpg\0"])
def test_lists(tmp_path, content):
    (tmp_path / "list").write_bytes(content)
    assert inputs.read_list(tmp_path / "list") == [b"a.jpg", b"b c.jpg"]


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"list cannot be read .*--list takes"):
        inputs.read_list(tmp_path / "list")
