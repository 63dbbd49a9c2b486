"""List files are read strictly: a list that is half read would screen for half of it."""

import hashlib
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.params.screens import ScreenList
from pipeline.screening import lists

MD5, SHA1, SHA256 = (hashlib.new(kind, b"x").hexdigest() for kind in ("md5", "sha1", "sha256"))


def read(path: Path, text: str | bytes, kind: str, quality: int = 50) -> lists.HashList:
    file = path / "list.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return lists.read(ScreenList(name="partner", file=str(file), kind=kind), quality)


@pytest.mark.parametrize(("kind", "digest"), [("md5", MD5), ("sha1", SHA1), ("sha256", SHA256), ("pdq", SHA256)])
def test_hashes_of_each_kind_in_the_forms_that_people_have(tmp_path, kind, digest):
    text = f'\ufeff# from a partner\r\n\r\n{digest.upper()}\r\n{kind} {digest}\n"{digest}",x,y\n{digest}\tnote\n'
    assert read(tmp_path, text, kind).digests == {bytes.fromhex(digest)}


def test_pdq_hashes_of_plain_pictures_are_left_out_where_the_list_tells(tmp_path):
    other = SHA256[::-1]
    listed = read(tmp_path, f"{SHA256},100,a.jpg\n{other},49,b.jpg\n", "pdq")
    assert (listed.digests, listed.plain) == ({bytes.fromhex(SHA256)}, 1)
    with pytest.raises(UserError, match=r"each of its 1 hashes is below ingest\.screens\.pdq_quality"):
        read(tmp_path, f"{other},10\n", "pdq")


def test_wrong_lines_are_named_and_counted(tmp_path):
    bad = [MD5, "xyz", SHA256[:-1] + "g", SHA256 + "00", "\x00" * 64, "tail", "tail"]
    with pytest.raises(UserError) as error:
        read(tmp_path, "\n".join([SHA256, *bad]), "sha256")
    message = str(error.value)
    assert "list.txt, the sha256 list 'partner', is wrong:" in message
    assert f"line 2: '{MD5}' has 32 characters, and sha256 has 64" in message
    assert "line 3: 'xyz' has 3 characters" in message
    assert "is not hexadecimal" in message
    assert "... and 2 more" in message


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n"])
def test_an_empty_list_is_an_error_for_nothing_would_be_screened(tmp_path, text):
    with pytest.raises(UserError, match="it holds no hash"):
        read(tmp_path, text, "md5")


def test_a_list_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read .*No such file"):
        lists.read(ScreenList(name="partner", file=str(tmp_path / "gone"), kind="md5"), 50)
    with pytest.raises(UserError, match="cannot be read"):
        lists.read(ScreenList(name="partner", file=str(tmp_path), kind="md5"), 50)
