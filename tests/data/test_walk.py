"""Folders with links, hidden files, deep paths and unreadable parts."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import console
from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import folder as folders
from pipeline.data import sightings, walk
from tests.support.pictures import LABELS, scrape, sha

NOBODY = 65534


def ingest(root: Path, data: Path, *, follow_links: bool = False) -> tuple[folders.IngestResult, dict[str, str]]:
    """Return the result, and each sighted file's reason by origin."""
    taken = folders.ingest(folders.scan(root, LABELS, follow_links=follow_links), data, "web")
    seen = sightings.load(data / "sightings")
    return taken, dict(zip(seen["origin"], seen["reason"], strict=True))


def origins(root: Path, *, follow_links: bool) -> dict[str, str]:
    walked = walk.walk(os.fsencode(root), follow_links=follow_links)
    return {os.fsdecode(entry.shown): entry.problem for entry in walked.entries}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user of the machine can reach; this process is no superuser meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="nsfw-walk-"))
    folder.chmod(0o777)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if superuser:
            os.seteuid(0)
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o777)
        shutil.rmtree(folder)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A scrape whose label folders hold nothing but links, to pictures beside it, below it and nowhere."""
    root = scrape(tmp_path / "raw", {".store/a.jpg": b"a", ".store/deep/b.jpg": b"b"})
    scrape(tmp_path, {"outside/c.jpg": b"c"})
    (root / "neutral").mkdir()
    links = {"in.jpg": "../.store/a.jpg", "folder": "../.store/deep", "out.jpg": "../../outside/c.jpg",
             "absolute.jpg": str(tmp_path / "outside" / "c.jpg"), "dangling.jpg": "gone.jpg",
             "self.jpg": "self.jpg", "up": "..", "out": "../../outside"}  # fmt: skip
    for name, target in links.items():
        (root / "neutral" / name).symlink_to(target)
    return root


def test_a_scrape_made_of_links_is_refused_with_the_way_out_and_writes_nothing(linked, project):
    (project / ".dvc").mkdir()
    done = CliRunner().invoke(console.app, ["ingest", "folder", str(linked), "--source", "web"])
    assert isinstance(done.exception, UserError)
    message = str(done.exception)
    assert "no labelled files that can be taken" in message
    assert "8 x not_a_file: a symbolic link" in message
    assert "2 hidden files were passed over: .store (2)" in message
    assert "--follow-links" in message
    assert not paths.DATA.exists()


def test_links_that_stay_below_are_followed_and_no_others(linked, tmp_path):
    taken, reasons = ingest(linked, tmp_path / "data", follow_links=True)
    assert (taken.stored, taken.refused) == (2, 6)
    link = "not_a_file: a symbolic link"
    assert reasons == {
        "neutral/in.jpg": "",
        "neutral/folder/b.jpg": "",
        "neutral/out.jpg": f"{link} that leads out of the folder",
        "neutral/absolute.jpg": f"{link} that leads out of the folder",
        "neutral/out": f"{link} that leads out of the folder",
        "neutral/dangling.jpg": f"{link} that leads nowhere (No such file or directory)",
        "neutral/self.jpg": f"{link} that leads nowhere (Too many levels of symbolic links)",
        "neutral/up": f"{link} that leads out of the folder",
    }
    held = sightings.load(tmp_path / "data" / "sightings").dropna(subset="sha256")
    assert set(held["sha256"]) == {sha(b"a"), sha(b"b")}


def test_loops_end_and_a_folder_is_read_once_for_a_label(tmp_path):
    root = scrape(tmp_path / "raw", {f"neutral/{name}/{name}.jpg": name.encode() for name in "abcdefgh"})
    for name in "abcdefgh":
        for other in "abcdefgh":
            (root / "neutral" / name / f"to {other}").symlink_to(f"../{other}")
    (root / "porn").mkdir()
    (root / "porn" / "from neutral").symlink_to("../neutral/a")
    seen = origins(root, follow_links=True)
    assert len(seen) < 1_000
    assert {name.rpartition("/")[2] for name, problem in seen.items() if not problem} == {
        f"{n}.jpg" for n in "abcdefgh"
    }
    assert seen["porn/from neutral/a.jpg"] == ""  # under another label: a conflict for a person to settle
    assert list(origins(root, follow_links=False).values()).count("") == 8


def test_a_name_that_becomes_a_link_after_the_scan_leads_nowhere(tmp_path):
    root = scrape(tmp_path / "raw", {"neutral/a.jpg": b"a", "neutral/sub/b.jpg": b"b", "neutral/c.jpg": b"c"})
    scrape(tmp_path, {"secret/a.jpg": b"secret", "secret/b.jpg": b"secret"})
    scanned = folders.scan(root, LABELS)
    (root / "neutral" / "a.jpg").unlink()
    (root / "neutral" / "a.jpg").symlink_to("../../secret/a.jpg")
    shutil.rmtree(root / "neutral" / "sub")
    (root / "neutral" / "sub").symlink_to("../../secret")
    taken = folders.ingest(scanned, tmp_path / "data", "web")
    assert (taken.stored, taken.refused) == (1, 2)
    assert set(sightings.load(tmp_path / "data" / "sightings")["sha256"].dropna()) == {sha(b"c")}


def test_hidden_folders_and_litter_are_counted_and_nothing_else_is_passed_over(tmp_path):
    litter = [
        ".ipynb_checkpoints/a-checkpoint.jpg", "neutral/.git/objects/x", "neutral/.git/HEAD",
        "__MACOSX/neutral/._a.jpg", "neutral/@eaDir/a.jpg/thumb.jpg", "neutral/.DS_Store", "porn/Thumbs.db",
        "porn/sub/desktop.ini", "porn/._b.jpg",
    ]  # fmt: skip
    pictures = ["neutral/.hidden.jpg", "neutral/a.jpg", "porn/thumbs.jpg", "porn/a.DS_Store", "porn/MACOSX/c.jpg"]
    root = scrape(tmp_path / "raw", {name: name.encode() for name in litter + pictures})
    scanned = folders.scan(root, LABELS)
    assert [file.origin for file in scanned.files] == sorted(pictures)
    assert scanned.skipped == {
        ".DS_Store": 1, "._b.jpg": 1, ".git": 2, ".ipynb_checkpoints": 1, "@eaDir": 1, "Thumbs.db": 1, "__MACOSX": 1,
        "desktop.ini": 1,
    }  # fmt: skip
    lines = folders.describe(scanned, folders.ingest(scanned, tmp_path / "data", "web"))
    assert lines[-1].startswith("9 hidden files were passed over: .DS_Store (1), ")


def test_the_parts_of_a_split_scrape_are_to_be_ingested_one_by_one(tmp_path):
    root = scrape(
        tmp_path / "my scrape", {f"{part}/{label}/a.jpg": b"a" for part in ("train", "Test") for label in LABELS}
    )
    with pytest.raises(UserError) as caught:
        folders.scan(root, LABELS)
    message = str(caught.value)
    for part in ("train", "Test"):
        assert f"nsfw ingest folder '{root}/{part}' --source NAME-{part}" in message
    assert "split.test_sources: [NAME-Test]" in message
    assert folders.scan(root / "train", LABELS)


def test_a_folder_that_may_not_be_read_costs_itself(open_folder):
    root = open_folder / "raw"
    scrape(root, {"neutral/a.jpg": b"a", "neutral/shut/b.jpg": b"b", "porn/c.jpg": b"c", "sexy/d.jpg": b"d"})
    for folder in ("neutral/shut", "sexy"):
        (root / folder).chmod(0o000)
    taken, reasons = ingest(root, open_folder / "data")
    assert (taken.stored, taken.refused) == (2, 2)
    assert reasons["neutral/shut"] == "unreadable: Permission denied; nothing in this folder was read"
    labels = sightings.load(open_folder / "data" / "sightings").set_index("origin")["label"]
    assert labels.to_dict() == {
        "neutral/a.jpg": "neutral",
        "neutral/shut": "neutral",
        "porn/c.jpg": "porn",
        "sexy": "sexy",
    }
    assert ingest(root, open_folder / "data")[0].sighted == 0
    (root / "neutral" / "shut").chmod(0o700)
    assert ingest(root, open_folder / "data")[0].stored == 1


def test_a_root_that_may_not_be_read_is_told(open_folder):
    root = scrape(open_folder / "raw", {"neutral/a.jpg": b"a"})
    root.chmod(0o000)
    with pytest.raises(UserError, match="Permission denied"):
        folders.scan(root, LABELS)


@pytest.mark.parametrize(("depth", "name"), [(1_500, "n"), (40, "n" * 200)])
def test_deep_folders_and_paths_longer_than_the_system_takes_are_read(tmp_path, depth, name):
    root = tmp_path / "raw"
    handle = os.open(scrape(root, {"neutral/a.jpg": b"a"}) / "neutral", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=handle)
        deeper = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    picture = os.open("b.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=handle)
    os.write(picture, b"b")
    os.close(picture)
    os.close(handle)
    taken, reasons = ingest(root, tmp_path / "data")
    assert (taken.stored, taken.refused) == (2, 0)
    assert "/".join(["neutral", *[name] * depth, "b.jpg"]) in reasons
    subprocess.run(["rm", "-rf", root], check=True)  # deeper than pytest's own clean-up can go
