import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data import batch_writer, shards, sightings
from pipeline.data import folder as folders
from tests.support.pictures import LABELS, MTIME, jpeg, png, scrape, sha, tree

ODD_NAMES = [
    "two words.jpg", "it's \"quoted\".png", "line\nend.jpg", "return\r.jpg", "Пёс 🐕.jpg", b"\xff\xfe.jpg",
    "a" * 196 + ".jpg", "no extension", "wrong.exe", ".hidden.jpg", "x.tar.gz", "-rf.jpg", "$(touch pwned).jpg",
    "semi;colon,comma.jpg", "UPPER.JPG", "dots..jpg", "long." + "e" * 20, "nested/deeper/a.jpg",
]  # fmt: skip


def ingest(root: Path, data: Path, source: str = "batch", **options) -> folders.IngestResult:
    return folders.ingest(folders.scan(root, LABELS), data, source, **options)


def stored(data: Path) -> dict[str, bytes]:
    """Every content of every shard, by its member's sha256."""
    listed = [member for shard in sorted((data / "shards").glob("*.tar")) for member in shards.list_members(shard)]
    assert len({member.sha256 for member in listed}) == len(listed), "a content is stored twice"
    return {member.sha256: shards.read(data / "shards", member) for member in listed}


def test_any_file_name_is_taken(tmp_path):
    contents = {
        (b"neutral/" + name if isinstance(name, bytes) else f"neutral/{name}"): f"content {number}".encode()
        for number, name in enumerate(ODD_NAMES)
    }
    taken = ingest(scrape(tmp_path / "raw", contents), tmp_path / "data")
    assert (taken.sighted, taken.stored, taken.refused) == (len(ODD_NAMES), len(ODD_NAMES), 0)
    seen = sightings.load(tmp_path / "data" / "sightings")
    assert set(seen["origin"]) == {
        name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name for name in contents
    }
    assert stored(tmp_path / "data") == {sha(content): content for content in contents.values()}
    assert not (tmp_path / "pwned").exists()


def test_every_file_has_a_sighting_and_each_content_is_stored_once(tmp_path, rng):
    one, two = jpeg(rng), png(rng)
    contents = {
        "drawings/a.jpg": one, "drawings/sub/b.jpg": one, "porn/c.jpg": one, "porn/d.png": two,
        "sexy/page.jpg": b"<html>", "sexy/empty": b"",
    }  # fmt: skip
    taken = ingest(scrape(tmp_path / "raw", contents), tmp_path / "data")
    seen = sightings.load(tmp_path / "data" / "sightings").set_index("origin")
    assert taken == folders.IngestResult(taken.batch, 6, 4, 0, 1)
    assert re.fullmatch("b00000001-batch-[0-9a-f]{12}", taken.batch)
    assert seen["sha256"].to_dict() == {origin: sha(content) for origin, content in contents.items()}
    assert seen["label"].to_dict() == {origin: origin.split("/")[0] for origin in contents}
    assert seen["bytes"].to_dict() == {origin: len(content) for origin, content in contents.items()}
    assert set(seen["status"]) == {"stored"}
    assert set(seen["reason"]) == {""}
    assert seen["fetched_at"]["porn/c.jpg"].timestamp() == MTIME + 2
    assert set(stored(tmp_path / "data")) == {sha(one), sha(two), sha(b"<html>"), sha(b"")}


def test_what_may_not_be_read_is_refused_with_a_row(tmp_path):
    root = scrape(tmp_path / "raw", {"neutral/a.jpg": b"a", "neutral/large.jpg": b"x" * 101, "loose.jpg": b"loose"})
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "neutral" / "link.jpg").symlink_to(tmp_path / "secret")
    (root / "neutral" / "folder link").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(root / "neutral" / "pipe.jpg")
    taken = ingest(root, tmp_path / "data", max_bytes=100)
    assert (taken.sighted, taken.stored, taken.refused) == (6, 1, 5)
    seen = sightings.load(tmp_path / "data" / "sightings").set_index("origin")
    refused = seen[seen["status"] == "refused"]
    assert refused["sha256"].isna().all()
    assert refused["reason"].str.partition(":")[0].to_dict() == {
        "loose.jpg": "no_label",
        "neutral/folder link": "not_a_file",
        "neutral/large.jpg": "too_large",
        "neutral/link.jpg": "not_a_file",
        "neutral/pipe.jpg": "not_a_file",
    }
    assert stored(tmp_path / "data") == {sha(b"a"): b"a"}
    assert ingest(root, tmp_path / "data", max_bytes=100).sighted == 0  # refused once is enough
    assert ingest(root, tmp_path / "data").stored == 1  # a larger limit takes it


def test_an_unreadable_file_is_refused_with_its_reason(tmp_path):
    root = scrape(tmp_path / "raw", {"neutral/a.jpg": b"a", "neutral/b.jpg": b"b"})
    scanned = folders.scan(root, LABELS)
    (root / "neutral" / "a.jpg").unlink()  # between the scan and the reading
    assert folders.ingest(scanned, tmp_path / "data", "batch").refused == 1
    assert sightings.load(tmp_path / "data" / "sightings")["reason"][0] == "unreadable: No such file or directory"


def test_the_same_folder_again_adds_nothing_and_a_later_batch_only_what_is_new(tmp_path):
    data = tmp_path / "data"
    root = scrape(tmp_path / "raw", {"neutral/a.jpg": b"a", "neutral/b.jpg": b"b"})
    ingest(root, data)
    before = tree(data)
    assert ingest(root, data) == folders.IngestResult(None, 0, 0, 0, 0)
    assert tree(data) == before

    scrape(root, {"neutral/a.jpg": b"a", "neutral/b.jpg": b"b", "neutral/c.jpg": b"c", "porn/copy of a.jpg": b"a"})
    second = ingest(root, data)
    assert second == folders.IngestResult(second.batch, 2, 1, 0, 1)
    assert before.items() <= tree(data).items()  # nothing old was touched
    assert ingest(root, data, "other").sighted == 4  # another source: seen anew, nothing stored anew
    assert set(stored(data)) == {sha(b"a"), sha(b"b"), sha(b"c")}
    names = [path.name for path in sorted((data / "sightings").iterdir())]
    assert [re.sub("-[0-9a-f]{12}", "", name) for name in names] == [
        "b00000001-batch.parquet", "b00000002-batch.parquet", "b00000003-other.parquet",
    ]  # fmt: skip


def test_a_changed_file_is_seen_again_with_its_new_content(tmp_path):
    root = scrape(tmp_path / "raw", {"neutral/a.jpg": b"a"})
    ingest(root, tmp_path / "data")
    scrape(root, {"neutral/a.jpg": b"other"})
    assert ingest(root, tmp_path / "data").stored == 1
    assert set(stored(tmp_path / "data")) == {sha(b"a"), sha(b"other")}


def test_shards_are_cut_by_number_and_by_size(tmp_path, monkeypatch):
    root = scrape(tmp_path / "raw", {f"neutral/{n}.jpg": bytes([n]) * 10 for n in range(7)})
    monkeypatch.setattr(batch_writer, "SHARD_PICTURES", 3)
    assert ingest(root, tmp_path / "three").shards == 3
    monkeypatch.setattr(batch_writer, "SHARD_BYTES", 20)
    assert ingest(root, tmp_path / "two").shards == 4
    assert stored(tmp_path / "two") == stored(tmp_path / "three")


def test_an_unknown_label_stops_before_anything_is_written(tmp_path):
    root = scrape(tmp_path / "raw", {"neutral/a.jpg": b"a", "cats/b.jpg": b"b", "Dogs/c.jpg": b"c"})
    with pytest.raises(UserError) as caught:
        ingest(root, tmp_path / "data")
    message = str(caught.value)
    assert "does not know: 'Dogs', 'cats'." in message
    assert "found: 'Dogs', 'cats', 'neutral'" in message
    assert "known (labels.names): 'drawings', 'hentai', 'neutral', 'porn', 'sexy'" in message
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("contents", "words"), [(None, "is not a folder"), ({}, "no labelled"), ({"a.jpg": b"a"}, "no labelled")]
)
def test_a_folder_without_labelled_files_is_an_error(tmp_path, contents, words):
    root = tmp_path / "raw"
    if contents is not None:
        root.mkdir()
        scrape(root, contents)
    with pytest.raises(UserError, match=words):
        ingest(root, tmp_path / "data")


def test_a_batchs_name_is_safe_in_a_path(tmp_path):
    assert folders.check_source("reddit-2026.11_a") == "reddit-2026.11_a"
    for name in ("", "a/b", "../a", ".hidden", "a b", "a\n", "é", "a" * 65):
        with pytest.raises(UserError, match="--source"):
            folders.check_source(name)
    for folder in ("my pictures (2)", "..hidden", "é", "x" * 100):
        folders.check_source(folders.default_source(tmp_path / folder))


@pytest.mark.parametrize(("step", "at_least"), [(9, 5), pytest.param(1, 45, marks=pytest.mark.slow)])
def test_killed_before_a_file_operation_and_run_again_it_ends_in_the_same_bytes(tmp_path, step, at_least):
    """Killed at every ninth operation; in the slow test at every one."""
    raw = {f"{n % 2}-batch/neutral/{n}.jpg": f"{n // 2}".encode() * 50 for n in range(8)}
    raw |= {f"1-batch/drawings/{n}.jpg": f"new {n}".encode() for n in range(3)}
    scrape(tmp_path / "raw", raw)
    script = Path(__file__).parents[1] / "support" / "killed_ingest.py"
    subprocess.run([sys.executable, script, tmp_path / "raw", tmp_path / "work", str(step)], check=True, timeout=300)
    whole, *killed = [tree(run / "data") for run in sorted((tmp_path / "work").iterdir(), reverse=True)]
    assert len(stored(tmp_path / "work" / "whole" / "data")) == 7
    assert len([name for name in whole if name.startswith("shards/")]) == 4
    assert len(killed) >= at_least
    assert [run for run in killed if run != whole] == []
