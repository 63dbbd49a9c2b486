import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.data import shards
from tests.support.pictures import sha


def rows(contents):
    return [(sha(content), extension, content) for extension, content in contents]


THREE = rows([(".jpg", b"one" * 700), ("", b""), (".png", bytes(range(256)))])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["", ".jpg", ".webp"]), st.binary(max_size=2000)), max_size=6))
def test_what_was_written_is_listed_in_order_and_read(tmp_path, contents):
    written = rows(contents)
    shards.write(tmp_path / "a.tar", written)
    members = shards.list_members(tmp_path / "a.tar")
    assert [(member.sha256, member.shard, member.size) for member in members] == [
        (sha256, "a.tar", len(content)) for sha256, _, content in written
    ]
    assert [shards.read(tmp_path, member) for member in members] == [content for _, _, content in written]


def test_equal_rows_give_equal_bytes_and_other_tools_can_read_them(tmp_path):
    for name in ("a.tar", "b.tar"):
        shards.write(tmp_path / name, THREE)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == [f"{sha256}{extension}" for sha256, extension, _ in THREE]
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}


def test_a_member_with_other_bytes_is_named(tmp_path):
    shards.write(tmp_path / "a.tar", THREE)
    first = shards.list_members(tmp_path / "a.tar")[0]
    with (tmp_path / "a.tar").open("r+b") as damaged:
        damaged.seek(first.offset + 5)
        damaged.write(b"!")
    with pytest.raises(UserError, match="damaged") as caught:
        shards.read(tmp_path, first)
    assert first.sha256 in str(caught.value)
    assert "dvc checkout" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 100, 512 + 1000, 2000])
def test_a_truncated_tar_is_named(tmp_path, keep):
    shards.write(tmp_path / "a.tar", THREE)
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a\.tar"):
        shards.list_members(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cat.jpg", tarfile.REGTYPE),
        ("../" + sha("a"), tarfile.REGTYPE),
        (sha("a"), tarfile.SYMTYPE),
        (sha("a"), tarfile.DIRTYPE),
    ],
)
def test_a_foreign_member_is_named(tmp_path, name, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        header = tarfile.TarInfo(name)
        header.type = kind
        tar.addfile(header, io.BytesIO())
    with pytest.raises(UserError, match="which `nsfw ingest` never writes") as caught:
        shards.list_members(tmp_path / "a.tar")
    assert repr(name) in str(caught.value)
