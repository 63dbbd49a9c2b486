"""What `nsfw measure DIR` takes of a folder, and what it counts instead."""

import os
import subprocess

import pytest

from pipeline.core.errors import UserError
from pipeline.promotion import measured_pictures
from tests.support.pictures import LABELS, scrape


def test_what_is_no_file_of_a_label_is_counted_and_hidden_folders_are_none_of_its_labels(tmp_path):
    root = scrape(tmp_path / "raw", {"neutral/a.jpg": b"a", "porn/deep/b.jpg": b"b", "loose.jpg": b"c", ".git/x": b"d"})
    (root / "neutral" / "link.jpg").symlink_to("a.jpg")
    os.mkfifo(root / "porn" / "pipe")
    files, refused = measured_pictures.list_files(root, LABELS, "version 1")
    assert files == [("neutral", str(root / "neutral/a.jpg")), ("porn", str(root / "porn/deep/b.jpg"))]
    assert refused == {"no_label": 1, "not_a_file": 2}


def test_1500_nested_folders_are_walked(tmp_path):
    handle = os.open(scrape(tmp_path / "raw", {"neutral/a.jpg": b"a"}) / "neutral", os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("n", dir_fd=handle)
        deeper = os.open("n", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(os.open("b.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
    os.close(handle)
    assert len(measured_pictures.list_files(tmp_path / "raw", LABELS, "version 1")[0]) == 2
    subprocess.run(["rm", "-rf", tmp_path / "raw"], check=True)  # deeper than pytest's own clean-up can go


def test_a_folder_that_is_no_label_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds 'cats'; its folders must be labels"):
        measured_pictures.list_files(scrape(tmp_path, {"cats/a.jpg": b"a"}), LABELS, "version 1")
