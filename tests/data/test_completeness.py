"""What is missing from data/ is reported before anything is written."""

import json
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import console
from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import batch_writer, completeness, dvc_pointer, shards
from pipeline.data import folder as folders
from pipeline.data import project as guard
from tests.support.pictures import LABELS, scrape, sha, tree


@pytest.fixture
def held(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose data/ holds seven contents in three shards, and a scrape raw/ beside it."""
    monkeypatch.setattr(batch_writer, "SHARD_PICTURES", 3)
    scrape(project / "raw", {f"neutral/{n}.jpg": b"%d" % n * 600 for n in range(7)})
    folders.ingest(folders.scan(Path("raw"), LABELS), paths.DATA, "web")
    Path(".dvc").mkdir()
    return project


def shard(number: int) -> Path:
    return sorted(paths.SHARDS.glob("*.tar"))[number]


def point(*, nfiles: int, listed: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write data.dvc, and the list of its version into DVC's cache."""
    md5 = f"{'ab' * 16}.dir"
    dvc_pointer.POINTER.write_text(yaml.safe_dump({"outs": [{"md5": md5, "nfiles": nfiles, "path": "data"}]}))
    cache = Path("cache")
    monkeypatch.setattr(dvc_pointer, "cache_folder", lambda: cache)
    if listed is not None:
        dvc_pointer.object_path(cache, md5).parent.mkdir(parents=True)
        entries = [{"md5": "0" * 32, "relpath": name} for name in listed]
        dvc_pointer.object_path(cache, md5).write_text(json.dumps(entries))


def refusal(*arguments: str) -> str:
    """Ingest by the command; it must refuse, and leave data/ and data.dvc as they are."""
    before = tree(paths.DATA)
    done = CliRunner().invoke(console.app, ["ingest", "folder", "raw", "--source", "web", *arguments])
    assert isinstance(done.exception, UserError), done.output
    assert tree(paths.DATA) == before
    return str(done.exception)


def test_a_whole_data_is_whole_and_read_again_only_where_a_shard_changed(held, monkeypatch):
    assert completeness.check(paths.DATA) == []
    listed = []
    real = shards.list_members
    monkeypatch.setattr(shards, "list_members", lambda path: listed.append(path.name) or real(path))
    assert completeness.check(paths.DATA) == []
    assert listed == []
    time.sleep(0.01)
    shard(1).touch()
    assert completeness.check(paths.DATA) == []
    assert listed == [shard(1).name]


def test_missing_shards_stop_an_ingest_and_the_message_counts_and_leads_out(held):
    shard(0).unlink()
    message = refusal()
    assert "the bytes of 3 of 7 stored pictures are in no shard" in message
    assert "dvc pull data.dvc" in message
    assert "dvc checkout" in message


def test_no_shard_at_all_is_not_an_empty_data(held):
    for path in paths.SHARDS.iterdir():
        path.unlink()
    paths.SHARDS.rmdir()
    assert "the bytes of 7 of 7 stored pictures" in refusal()


@pytest.mark.parametrize("keep", [512, 1500, 0])
def test_a_shard_cut_short_is_named(held, keep):
    name = shard(2).name
    whole = shard(2).read_bytes()
    completeness.check(paths.DATA)  # its headers are known from before
    shard(2).write_bytes(whole[:keep])
    message = refusal()
    assert "the bytes of 1 of 7 stored pictures" in message
    if keep:
        assert f"1 shards are cut short or damaged: {name}" in message
    shard(2).write_bytes(whole)
    assert completeness.check(paths.DATA) == []


def test_sightings_that_the_version_names_and_a_pull_has_not_brought_are_missing_too(held, monkeypatch):
    listed = [*tree(paths.DATA), "sightings/b00000002-theirs.parquet", "shards/b00000002-theirs-00000.tar"]
    point(nfiles=len(listed), listed=listed, monkeypatch=monkeypatch)
    message = refusal()
    assert "1 files of data/sightings that data.dvc names are not here: b00000002-theirs.parquet" in message
    assert "1 files of data/shards that data.dvc names are not here: b00000002-theirs-00000.tar" in message
    assert "bytes of" not in message


def test_a_version_whose_list_is_not_here_is_counted(held, monkeypatch):
    point(nfiles=len(tree(paths.DATA)) + 2, listed=None, monkeypatch=monkeypatch)
    assert "holds 7 files, but data.dvc names a version of 9" in refusal()
    point(nfiles=len(tree(paths.DATA)), listed=None, monkeypatch=monkeypatch)
    guard.prepare_for_batch("web", fresh=False, keep_sample=False)


def test_what_a_newer_data_holds_beside_the_version_is_no_fault(held, monkeypatch):
    point(nfiles=1, listed=["decisions.csv"], monkeypatch=monkeypatch)
    guard.prepare_for_batch("web", fresh=False, keep_sample=False)


@pytest.mark.parametrize(
    "text", ["<<<<<<< HEAD\nouts:\n", "outs: 3\n", "- a\n", b"\xff\xfe", "outs:\n- a: 1\n- b: 2\n"]
)
def test_a_pointer_that_cannot_be_read_is_told(held, text):
    dvc_pointer.POINTER.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "data.dvc is not readable" in refusal()


def test_a_damaged_cache_of_headers_costs_only_time(held):
    completeness.check(paths.DATA)
    paths.MEMBERS_CACHE.write_bytes(b"nonsense")
    assert completeness.check(paths.DATA) == []
    held_now, damaged = completeness.shard_contents(paths.SHARDS)
    assert set().union(*held_now.values()) == {sha(b"%d" % n * 600) for n in range(7)}
    assert damaged == []
