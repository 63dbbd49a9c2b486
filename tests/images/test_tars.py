import gzip
import io
import lzma
import os
import tarfile

import pytest

from pipeline.batch_scoring import inputs
from pipeline.images import tars
from pipeline.images.byte_source import load

MAX = 10_000
ARCHIVES = {"plain": ("x.tar", bytes), "gz": ("x.tgz", gzip.compress), "xz": ("x.tar.xz", lzma.compress)}


def info(name, size=0, kind=tarfile.REGTYPE, **more):
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    for key, value in more.items():
        setattr(made, key, value)
    return made


def tar(*members, fmt=tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=fmt) as archive:
        for made, data in members:
            archive.addfile(made, io.BytesIO(data) if data is not None else None)
    return buffer.getvalue()


def files(*names):
    return [(info(name, 5 + len(name)), b"bytes" + name.encode()) for name in names]


@pytest.fixture(params=ARCHIVES)
def put(request, tmp_path):
    """Writes an archive, plain or packed; returns its path."""
    name, pack = ARCHIVES[request.param]

    def write(data: bytes) -> bytes:
        (tmp_path / name).write_bytes(pack(data))
        return os.fsencode(tmp_path / name)

    return write


def problem_codes(path, max_bytes=MAX):
    return [(member.name, member.problem.partition(":")[0]) for member in tars.members(path, max_bytes)]


def test_members_come_in_order_with_their_bytes_and_folders_do_not(put):
    path = put(tar((info("d", kind=tarfile.DIRTYPE), None), *files("d/b", "a", "long" * 60), *files("a")))
    members = list(tars.members(path, MAX))
    assert [member.name for member in members] == ["d/b", "a", "long" * 60, "a"]
    assert [load(member.content, MAX) for member in members] == [b"bytes" + m.name.encode() for m in members]


def test_absolute_names_links_and_devices_lead_nowhere(put, tmp_path):
    odd = [(info("l", kind=tarfile.SYMTYPE, linkname="/etc/passwd"), None), (info("h", kind=tarfile.LNKTYPE), None)]
    odd += [(info("dev", kind=tarfile.CHRTYPE, devmajor=1, devminor=5), None), (info("p", kind=tarfile.FIFOTYPE), None)]
    before = sorted(tmp_path.iterdir())
    path = put(tar(*files("/etc/cron.d/x", "../../up"), *odd))
    problems = [("/etc/cron.d/x", ""), ("../../up", "")]
    assert problem_codes(path) == problems + [(name, "not_a_file") for name in ("l", "h", "dev", "p")]
    assert len(sorted(tmp_path.iterdir())) == len(before) + 1


def test_a_member_that_is_too_large_is_not_read_and_the_next_one_is(put):
    path = put(tar(*files("a"), (info("large", MAX + 1), bytes(MAX + 1)), *files("b")))
    assert problem_codes(path) == [("a", ""), ("large", "too_large"), ("b", "")]


def test_a_member_too_large_even_to_get_past_ends_a_packed_archive(tmp_path):
    """10 GB of zeros are a few MB of xz, and take minutes to unpack."""
    huge = info("huge", 100 * MAX).tobuf() + bytes(100)
    (tmp_path / "x.tar.xz").write_bytes(lzma.compress(tar(*files("a"))[:1024] + huge))
    assert problem_codes(os.fsencode(tmp_path / "x.tar.xz")) == [("a", ""), ("", "broken_archive")]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_a_header_of_gigabytes_is_not_read(put, kind):
    path = put(info("pax", 8 * 2**30, kind).tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert problem_codes(path) == [("", "broken_archive")]


@pytest.mark.parametrize("cut", [512 + 100, 1024, 1024 + 200])
def test_an_archive_that_is_cut_short_says_so(put, cut):
    members = problem_codes(put(tar(*files("a", "b", "c"))[:cut]))
    assert members[-1] == ("", "broken_archive")
    assert ("c", "") not in members


def test_damage_in_the_middle_does_not_end_it_in_silence(put):
    data = bytearray(tar(*files("a", "b", "c")))
    data[1024 + 148] ^= 0xFF  # the checksum of b's header
    assert problem_codes(put(bytes(data))) == [("a", ""), ("", "broken_archive")]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_packed_data_that_is_cut_or_damaged(tmp_path, pack):
    packed = pack(os.urandom(0) + tar(*[(info(f"{n}", 9000), os.urandom(9000)) for n in range(9)]))
    for spoilt in (packed[: len(packed) // 2], packed[:40_000] + b"damage" + packed[40_006:]):
        (tmp_path / "x.tar.gz").write_bytes(spoilt)
        members = problem_codes(os.fsencode(tmp_path / "x.tar.gz"))
        assert members[-1] == ("", "broken_archive")
        assert members[0] == ("0", "")


def test_rubbish_and_nothing_are_no_archives(put):
    assert problem_codes(put(b"rubbish" * 1000)) == [("", "broken_archive")]
    assert problem_codes(put(b"")) == [("", "broken_archive")]
    assert problem_codes(b"/nowhere/x.tar") == [("", "broken_archive")]


def test_sparse_files_are_refused(put):
    path = put(info("s", 512, tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert problem_codes(path) == [("", "broken_archive")]


def test_items_of_an_archive_are_named_by_both(put):
    path = put(tar(*files("a/b.jpg")))
    names = [item.name for item in inputs.walk([path], MAX)]
    assert names == [f"{os.fsdecode(path)}::a/b.jpg"]
    assert inputs.count([path]) is None


def test_a_plain_archive_that_shrinks_meanwhile(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(tar(*files("a", "b")))
    members = list(tars.members(os.fsencode(path), MAX))
    path.write_bytes(path.read_bytes()[:514])
    with pytest.raises(Exception, match="cut short: 2 of 6 bytes"):
        load(members[0].content, MAX)
