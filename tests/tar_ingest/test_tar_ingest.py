"""Archives that others made go in: every sample has a row, whatever is wrong with it."""

import gzip
import json
import lzma
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data import folder, removal, shards, sightings
from pipeline.tar_ingest import download_tables
from pipeline.tar_ingest.archives import find
from pipeline.tar_ingest.ingest import Intake, check_labels
from pipeline.tar_ingest.labels import rule
from tests.support.pictures import LABELS, jpeg, sha, tree
from tests.support.webdataset import SITE, about, sample, shard, table


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ingest(*given: Path | str, label: str | None = None, key: str | None = None, max_bytes: int = 10_000, data="data"):
    intake = Intake(find([Path(path) for path in given]), rule(LABELS, label, key), max_bytes)
    check_labels(intake.archives, intake.rule, max_bytes)
    return intake.write(Path(data), "laion"), intake


def rows(data: str = "data"):
    return sightings.load(Path(data) / "sightings").set_index("origin")


def reasons(data: str = "data") -> dict[str, str]:
    seen = rows(data)
    return {origin: reason.partition(":")[0] for origin, reason in seen["reason"].items() if reason}


def stored(data: str = "data") -> set[str]:
    names = sorted(Path(data, "shards").glob("*.tar"))
    return {member.sha256 for path in names for member in shards.list_members(path)}


@pytest.mark.parametrize(("ending", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.xz", "w:xz")])
def test_img2datasets_own_archives_go_in_and_every_url_has_its_row(work, rng, ending, mode):
    pictures = {f"{number:07d}": jpeg(rng) for number in range(6)}
    members = [sample(key, data, label=LABELS[int(key) % 5]) for key, data in pictures.items()]
    shard(work / f"out/00000.{ending}", *members, mode=mode)
    failed = [("0000006", "failed_to_download", "HTTP Error 404:\n Not Found"), ("0000007", "failed_to_resize", None)]
    listed = [*((key, "success", None) for key in pictures), *failed]
    table(work / "out/00000.parquet", listed, label=[LABELS[number % 5] for number in range(8)])
    result, intake = ingest("out", key="label")
    assert (result.sighted, result.stored, result.refused, intake.rows) == (8, 6, 2, 8)
    seen = rows()
    assert set(seen.index) == {f"{SITE}{number:07d}" for number in range(8)}
    assert list(seen["label"]) == [LABELS[number % 5] for number in range(8)]
    assert stored() == {sha(data) for data in pictures.values()} == set(seen["sha256"].dropna())
    assert seen.loc[f"{SITE}0000006", "reason"] == "not_downloaded: HTTP Error 404: Not Found"
    assert seen.loc[f"{SITE}0000007", "reason"] == "not_downloaded: failed_to_resize"
    before = tree(work / "data")
    again, _ = ingest("out", key="label")
    assert (again.batch, again.sighted) == (None, 0)
    assert tree(work / "data") == before


def test_folders_of_archives_and_of_members_give_labels(work):
    shard(work / "raw/porn/a.tar", sample("1", b"one"))
    shard(work / "raw/mixed/b.tar", sample("train/sexy/2", b"two"), sample("cats/3", b"three"), sample("4", b"four"))
    shard(work / "raw/porn/c.tar", sample("porn/5", b"five"), sample("neutral/6", b"six"))
    ingest("raw")
    assert rows()["label"].dropna().to_dict() == {f"{SITE}1": "porn", f"{SITE}2": "sexy", f"{SITE}5": "porn"}
    refused = rows()["reason"]
    assert refused[f"{SITE}3"] == "unknown_label: 'cats'"
    assert refused[f"{SITE}4"] == "unknown_label: 'mixed'"
    assert refused[f"{SITE}6"] == "two_labels: in folders of 'neutral' and 'porn'"


def test_a_sample_without_a_usable_label_is_refused_and_its_bytes_are_not_stored(work):
    values = {"1": "porn", "2": "cats", "3": None, "4": 4, "5": "x" * 5_000}
    members = [sample(key, key.encode(), kind=value) for key, value in values.items()]
    shard(work / "a.tar", *members, {"6.jpg": b"6"}, {"7.jpg": b"7", "7.json": b"{"}, {"8.jpg": b"8", "8.json": b"[]"})
    ingest("a.tar", key="kind")
    assert stored() == {sha("1")}
    refused = reasons()
    assert Counter(refused.values()) == {"unknown_label": 3, "no_label": 1, "no_json": 1, "broken_json": 2}
    assert refused["a.tar::6.jpg"] == "no_json"
    assert rows().loc[f"{SITE}4", "reason"] == "unknown_label: 4 (int)"
    assert len(rows().loc[f"{SITE}5", "reason"]) < 200


def test_what_is_no_sample_with_one_picture_is_refused(work):
    good = sample("good", b"good")
    odd = [
        {"none.txt": b"x", "none.json": about("none")},
        {"two.jpg": b"a", "two.seg.png": b"b"},
        {"large.jpg": b"x" * 10_001, "large.json": about("large")},
        {"README": b"x"},
    ]
    shard(work / "neutral/a.tar", good, *odd, {"__MACOSX/._good.jpg": b"x", "d/._b.jpg": b"x", ".hidden.png": b"h"})
    result, intake = ingest("neutral")
    assert (result.stored, result.sighted, intake.rows) == (2, 6, 6)
    assert reasons() == {
        f"{SITE}none": "no_picture", "neutral/a.tar::two.jpg": "several_pictures", f"{SITE}large": "too_large",
        "neutral/a.tar::README": "no_picture",
    }  # fmt: skip
    assert stored() == {sha("good"), sha("h")}
    assert intake.skipped == {"__MACOSX": 1, "._b.jpg": 1}


@pytest.mark.parametrize(
    "url",
    [None, 7, "", "file:///etc/passwd", "javascript:alert(1)", "https://", "https://a b", "http://[", "https://u:p@h/",
     "https://h/\n", "https://h/" + "x" * 5_000],
)  # fmt: skip
def test_an_origin_that_is_no_web_address_is_the_members_name(work, url):
    shard(work / "a.tar", sample("1", b"1", url=url))
    ingest("a.tar", label="neutral")
    assert list(rows().index) == ["a.tar::1.jpg"]


def test_a_json_that_is_not_needed_may_be_broken_or_large(work):
    bombs = [b"[" * 100_000, b'{"url": ' + b"9" * 9_000 + b"}", b"\xff", b'{"x": "' + b"y" * (2**20) + b'"}']
    shard(work / "a.tar.gz", *({f"{n}.jpg": b"%d" % n, f"{n}.json": data} for n, data in enumerate(bombs)), mode="w:gz")
    assert ingest("a.tar.gz", label="porn", max_bytes=2**22)[0].stored == 4
    assert set(reasons()) == set()
    with pytest.raises(UserError, match=r"2 x broken_json|1 x json_too_large"):
        ingest("a.tar.gz", key="label", max_bytes=2**22, data="other")


def test_labels_that_are_all_unknown_end_it_before_anything_is_written(work):
    shard(work / "cats/a.tar", sample("1", b"1", species="cat"))
    with pytest.raises(UserError) as caught:
        ingest("cats")
    assert "1 x unknown_label: 'cats'" in str(caught.value)
    assert "'drawings', 'hentai', 'neutral', 'porn', 'sexy'" in str(caught.value)
    with pytest.raises(UserError, match="caption, url, key, status, error_message, species"):
        ingest("cats", key="label")
    with pytest.raises(UserError, match=r"--label: .*'cat'"):
        ingest("cats", label="cat")
    assert not (work / "data").exists()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize("cut", [0.4, 0.6, 0.8])
def test_an_archive_that_is_cut_short_gives_a_row_and_a_warning_and_the_whole_one_later_the_rest(work, rng, pack, cut):
    members = [sample(f"{number}", rng.bytes(3_000)) for number in range(9)]
    whole = pack(shard(work / "a.tar", *members).read_bytes())
    suffix = {bytes: "tar", gzip.compress: "tar.gz", lzma.compress: "tar.xz"}[pack]
    path = work / "neutral" / f"a.{suffix}"
    path.parent.mkdir()
    path.write_bytes(whole[: int(len(whole) * cut)])
    table(work / "neutral/a.parquet", [(f"{number}", "success", None) for number in range(9)])
    result, intake = ingest("neutral")
    codes = Counter(reasons().values())
    assert codes["broken_archive"] in {1, 2}  # the archive, and the sample that it ends in
    assert result.stored + codes["missing"] + codes["broken_archive"] - 1 == 9
    assert intake.warnings[0].startswith(f"neutral/a.{suffix}: broken_archive: ")
    path.write_bytes(whole)
    ingest("neutral")
    assert stored() == {sha(data) for members_of in members for name, data in members_of.items() if "jpg" in name}
    assert set(rows()["sha256"].dropna()) == stored()


def test_links_and_devices_in_an_archive_are_refused(work):
    link, device = tarfile.TarInfo("1.jpg"), tarfile.TarInfo("2.jpg")
    link.type, link.linkname, device.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.CHRTYPE
    with tarfile.open(shard(work / "a.tar", sample("0", b"0")), "a") as tar:
        tar.addfile(link)
        tar.addfile(device)
    ingest("a.tar", label="neutral")
    assert reasons() == {"a.tar::1.jpg": "not_a_file", "a.tar::2.jpg": "not_a_file"}
    assert stored() == {sha("0")}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 200 + b"PAR1", b"rubbish" * 1_000])
def test_a_broken_table_gives_a_row_and_the_archive_goes_in(work, content):
    shard(work / "neutral/a.tar", sample("1", b"1"))
    (work / "neutral/a.parquet").write_bytes(content)
    result, intake = ingest("neutral")
    assert (result.stored, result.refused) == (1, 1)
    assert reasons() == {"neutral/a.tar: its table": "broken_table"}
    assert "its table: broken_table: unreadable" in intake.warnings[0]


def test_a_table_with_too_many_rows_or_of_another_make_is_not_taken(work, monkeypatch):
    path = table(work / "a.parquet", [(str(number), "success", None) for number in range(50)])
    assert len(download_tables.read(os.fsencode(path), None)) == 50
    (work / "link.parquet").symlink_to(path)
    assert "broken_table: unreadable" in download_tables.read(os.fsencode(work / "link.parquet"), None)
    other = table(work / "b.parquet", [("1", "x", None)], status=[1])
    assert download_tables.read(os.fsencode(other), None) == []
    assert download_tables.read(os.fsencode(work / "none.parquet"), None) == []
    monkeypatch.setattr(download_tables, "MAX_ROWS", 49)
    with pytest.raises(Exception, match="50 rows, more than 49"):
        download_tables._read(download_tables._Task(os.fsencode(path), None))
    monkeypatch.setattr(download_tables, "MAX_BYTES", 100)
    with pytest.raises(Exception, match="too_large"):
        download_tables._read(download_tables._Task(os.fsencode(path), None))


def test_a_picture_that_was_taken_down_is_not_stored_again(work):
    shard(work / "neutral/a.tar", sample("1", b"one"), sample("2", b"two"))
    folder.prepare(Path("data"))
    removal.record_escalated(Path("data/sightings"), {sha("one"): "escalated: matches own"}, "--source laion")
    result, _ = ingest("neutral")
    assert (result.stored, result.escalated) == (1, 1)
    assert stored() == {sha("two")}
    assert rows().loc[f"{SITE}1", "status"] == "escalated"


def test_what_is_given_must_be_archives_and_each_is_read_once(work):
    shard(work / "neutral/a.tar", sample("1", b"1"))
    (work / "neutral/link.tar").symlink_to("a.tar")
    (work / "neutral/notes.txt").write_text("x")
    listed = find([Path("neutral"), Path("neutral/a.tar")])
    assert [(archive.name, archive.problem.partition(":")[0]) for archive in listed] == [
        ("neutral/a.tar", ""), ("neutral/link.tar", "not_a_file"),
    ]  # fmt: skip
    (work / "empty").mkdir()
    for given in ("nowhere", "empty", "neutral/notes.txt"):
        with pytest.raises(UserError, match=given):
            find([Path(given)])


def test_a_large_archive_is_streamed(work):
    """In a process that may not hold half of it."""
    shard(work / "neutral/a.tar.gz", *(sample(str(n), bytes(2**20) + b"%d" % n) for n in range(60)), mode="w:gz")
    code = (
        "import resource, sys; from pathlib import Path; from tests.tar_ingest.test_tar_ingest import ingest\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "result, _ = ingest('neutral', max_bytes=2**21); assert result.stored == 60\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    root = Path(__file__).parents[2]
    script = f"import sys; sys.path.insert(0, {str(root)!r})\nfrom pipeline.data import batch_writer\n"
    script += f"batch_writer.SHARD_PICTURES = 10\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=work)
    assert int(done.stdout) < 30_000, "KiB"


@pytest.mark.parametrize(("step", "at_least"), [(20, 2), pytest.param(1, 25, marks=pytest.mark.slow)])
def test_killed_before_a_file_operation_and_run_again_it_ends_in_the_same_bytes(tmp_path, step, at_least):
    for batch in ("0-batch", "1-batch"):
        members = [sample(f"{number}", f"{number} {number < 2 or batch}".encode() * 50) for number in range(5)]
        shard(tmp_path / "raw" / batch / "neutral" / "a.tar", *members, {"no picture.txt": b"x"})
    script = Path(__file__).parents[1] / "support" / "killed_ingest.py"
    subprocess.run([sys.executable, script, tmp_path / "raw", tmp_path / "work", str(step)], check=True, timeout=300)
    whole, *killed = [tree(run / "data") for run in sorted((tmp_path / "work").iterdir(), reverse=True)]
    assert len(stored(str(tmp_path / "work/whole/data"))) == 8
    assert len(killed) >= at_least
    assert [run for run in killed if run != whole] == []


def test_json_of_the_result_is_plain(work):
    shard(work / "neutral/a.tar", sample("1", b"1"), {"2.txt": b"x"})
    result, intake = ingest("neutral")
    document = json.loads(json.dumps(intake.to_document(result)))
    assert (document["samples"], document["reasons"], document["stored"]) == (2, {"no_picture": 1}, 1)
