"""Names of batches: their order, and that they are unique."""

import shutil
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import paths, tables
from pipeline.data import batch_names, completeness, shards, sightings
from pipeline.data import folder as folders
from tests.support.pictures import LABELS, scrape, sha, tree

SOURCES = st.sampled_from(
    ["a", "0", "9-9", "b00000002", "web", "web-1", "web-00000", "Z", "x.y", "reddit-2026-11", "1" * 64]
)
DIGESTS = st.binary(min_size=1, max_size=2).map(sha)
NUMBERS = st.one_of(st.integers(1, 10**8 - 1), st.sampled_from([1, 9_999, 10_000, 10_001, 99_999, 100_000]))


def ingest(raw: Path, data: Path, source: str = "web") -> folders.IngestResult:
    return folders.ingest(folders.scan(raw, LABELS), data, source)


def row(sha256: str, source: str = "old") -> dict[str, object]:
    return {
        "sha256": sha256, "label": "neutral", "origin": sha256, "source": source, "fetched_at": 0, "bytes": 1,
        "status": "stored", "reason": "",
    }  # fmt: skip


def old_batch(data: Path, name: str, content: bytes) -> None:
    """Write a batch as earlier versions of this program named it."""
    shards.write(data / "shards" / f"{name}-00000.tar", [(sha(content), ".jpg", content)])
    tables.write_parquet(sightings.frame([row(sha(content))]), data / "sightings" / f"{name}.parquet")


@given(st.lists(st.tuples(NUMBERS, SOURCES, DIGESTS), min_size=2, max_size=6))
def test_names_sort_by_number_in_any_listing_and_differ_where_number_source_or_content_do(keys):
    names = [batch_names.name(*key) for key in keys]
    numbers = [batch_names.sort_key(Path(f"{name}.parquet"))[0] for name in names]
    assert numbers == [number for number, _, _ in keys]
    by_text = sorted(range(len(keys)), key=lambda index: names[index])
    assert all(numbers[before] <= numbers[after] for before, after in pairwise(by_text))
    distinct = {(number, source, digest[:12]) for number, source, digest in keys}
    assert len(set(names)) == len(distinct)


@given(st.integers(1, 9_999), SOURCES, NUMBERS, SOURCES, DIGESTS)
def test_names_of_earlier_versions_sort_before_new_ones(old, old_source, new, source, digest):
    earlier, later = f"{old:04d}-{old_source}", batch_names.name(new, source, digest)
    assert earlier < later
    assert batch_names.sort_key(Path(earlier))[0] == old
    assert batch_names.batch_of_old_shard(f"{earlier}-00000.tar") == earlier
    assert batch_names.batch_of_old_shard(f"{later}-00000.tar") is None


def test_after_9999_the_next_batch_takes_nothing_from_any_other(tmp_path):
    data = tmp_path / "data"
    for name in ("0001-a", "1000-b", "9998-c", "9999-d", "10000-e"):  # the last: as the defect left it
        old_batch(data, name, name.encode())
    before = tree(data)
    for number in range(3):
        raw = scrape(tmp_path / str(number), {"neutral/a.jpg": b"new %d" % number})
        taken = ingest(raw, data)
        assert taken.batch.startswith(f"b{10_001 + number:08d}-web-")
    assert before.items() <= tree(data).items()
    order = sightings.first_batches(data / "sightings")
    names = ["0001-a", "1000-b", "9998-c", "9999-d", "10000-e", "new 0", "new 1", "new 2"]
    assert [order[sha(name)] for name in names] == list(range(8))
    assert sightings.load(data / "sightings")["sha256"].tolist() == [sha(name) for name in names]


def test_what_two_people_ingest_on_two_branches_merges_file_by_file(project, tmp_path):
    ours, theirs = tmp_path / "ours" / "data", tmp_path / "theirs" / "data"
    base = scrape(tmp_path / "base", {"neutral/a.jpg": b"a"})
    ingest(base, ours)
    shutil.copytree(ours, theirs)
    both = {"neutral/b.jpg": b"b"}  # the same rows on both branches, but stored already on one of them
    ingest(scrape(tmp_path / "first", {"porn/b.jpg": b"b"}), ours, "first")
    ingest(scrape(tmp_path / "other", {"porn/c.jpg": b"c"}), theirs, "first")
    for data in (ours, theirs):
        ingest(scrape(tmp_path / "both", both | {"neutral/d.jpg": b"d"}), data, "second")
    unlike = {name for name in tree(ours).keys() & tree(theirs).keys() if tree(ours)[name] != tree(theirs)[name]}
    assert unlike == set()
    shutil.copytree(theirs, ours, dirs_exist_ok=True)
    completeness.check(ours)
    seen = sightings.load(ours / "sightings")
    assert len(seen) == 1 + 2 + 4
    orders = [batch_names.sort_key(path) for path in batch_names.sighting_tables(ours / "sightings")]
    assert [number for number, _ in orders] == [1, 2, 2, 3, 3]
    assert ingest(base, ours).batch is None
    assert ingest(scrape(tmp_path / "new", {"neutral/e.jpg": b"e"}), ours).batch.startswith("b00000004-web-")


def test_the_same_batch_on_two_branches_is_the_same_files(tmp_path):
    raw = scrape(tmp_path / "raw", {"neutral/a.jpg": b"a", "porn/b.jpg": b"b"})
    for name in ("ours", "theirs"):
        ingest(raw, tmp_path / name)
    assert tree(tmp_path / "ours") == tree(tmp_path / "theirs")


def test_what_an_earlier_version_left_when_killed_is_known_exactly(project):
    """A shard is unused if its batch has no sightings and none of its contents has one."""
    old_batch(paths.DATA, "0007-web-1", b"a")
    old_batch(paths.DATA, "10000-web", b"b")
    left = ["0007-web-00000.tar", "0007-web-1-1-00000.tar", "1000-web-00000.tar"]
    for name in left:
        shards.write(paths.SHARDS / name, [(sha(name), ".jpg", name.encode())])
    shards.write(paths.SHARDS / "0009-sighted-elsewhere-00000.tar", [(sha(b"a"), ".jpg", b"a")])
    assert completeness.check(paths.DATA) == [paths.SHARDS / name for name in left]
