"""The checks before an ingest, in this process; and what DVC versions, by the command (slow)."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import console
from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import folder as folders
from pipeline.data import project as guard
from pipeline.data import sightings
from tests.support.pictures import LABELS, scrape, tree

SAMPLE = sightings.SAMPLE_SOURCE
CHOICE = ("--fresh", "--keep-sample")
POINTER = Path("data.dvc")


@pytest.fixture
def root(project: Path) -> Path:
    """A git and DVC project with the scrapes raw/ and web/ beside data/; DVC's own files are inside it."""
    subprocess.run(["git", "init", "-q"], check=True)
    config = {"core": {"analytics": "false", "site_cache_dir": project / "site"}, 'remote "sample"': {"url": "sample"}}
    lines = [line for name, keys in config.items() for line in (f"[{name}]", *(f"{k} = {v}" for k, v in keys.items()))]
    scrape(project, {"raw/neutral/a.jpg": b"a", "raw/porn/b.jpg": b"b", "web/sexy/c.jpg": b"c"})
    scrape(project, {".dvc/config": "\n".join(lines).encode()})
    return project


def hold(*sources: str) -> dict[str, bytes]:
    """Put a batch of each source into data/, without DVC."""
    for number, source in enumerate(sources):
        raw = scrape(Path("held") / str(number), {"neutral/held.jpg": source.encode()})
        folders.ingest(folders.scan(raw, LABELS), paths.DATA, source)
    return tree(paths.DATA)


def prepare_for_batch(source: str, fresh: bool = False, keep_sample: bool = False) -> None:
    guard.prepare_for_batch(source, fresh=fresh, keep_sample=keep_sample)


@pytest.mark.parametrize(
    ("held", "source"), [([SAMPLE], "reddit"), (["reddit"], SAMPLE), ([SAMPLE, "reddit"], "reddit")]
)
def test_the_sample_and_other_pictures_meet_only_by_choice(root, held, source):
    before = hold(*held)
    with pytest.raises(UserError, match="bundled sample") as caught:
        prepare_for_batch(source)
    assert all(option in str(caught.value) for option in CHOICE)
    prepare_for_batch(source, keep_sample=True)
    assert tree(paths.DATA) == before


@pytest.mark.parametrize(("held", "source"), [([], SAMPLE), ([], "reddit"), ([SAMPLE], SAMPLE), (["reddit"], "web")])
def test_what_does_not_mix_needs_no_choice(root, held, source):
    before = hold(*held)
    prepare_for_batch(source)
    assert tree(paths.DATA) == before


def test_a_data_that_is_versioned_but_not_here_is_pulled_or_begun_anew(root):
    POINTER.write_text("outs: []\n")
    for keep_sample in (False, True):
        with pytest.raises(UserError, match=r"`dvc pull data\.dvc`.*--fresh"):
            prepare_for_batch("reddit", keep_sample=keep_sample)
    prepare_for_batch("reddit", fresh=True)


@pytest.mark.parametrize("lacking", ["params.yaml", ".dvc"])
def test_elsewhere_than_in_the_projects_root_it_says_so(root, lacking):
    guard.check_root()
    Path(lacking).rename("moved")
    with pytest.raises(UserError) as caught:
        guard.check_root()
    assert str(caught.value).startswith(f"{root} is not the project's root")


def test_of_two_ingests_at_a_time_the_second_is_refused_and_touches_nothing(root):
    with guard.ingest_lock():
        refused = CliRunner().invoke(console.app, ["ingest", "folder", "raw"])
    assert isinstance(refused.exception, UserError)
    assert "another `nsfw ingest` is at work" in str(refused.exception)
    assert not paths.DATA.exists()
    with pytest.raises(ZeroDivisionError), guard.ingest_lock():
        raise ZeroDivisionError
    with guard.ingest_lock():  # free again, also after a failure
        pass


def test_fresh_and_keep_sample_exclude_each_other(root):
    before = hold(SAMPLE)
    done = CliRunner().invoke(console.app, ["ingest", "folder", "raw", *CHOICE])
    assert done.exit_code == 2
    assert all(option in done.stderr for option in CHOICE)
    assert (done.stdout, tree(paths.DATA)) == ("", before)


@pytest.mark.parametrize("source", ["", "a/b", "../a", ".hidden", "two words", "x" * 65])
def test_a_source_that_cannot_name_a_batch_is_refused_before_anything_is_written(root, source):
    before = tree(root)
    done = CliRunner().invoke(console.app, ["ingest", "folder", "raw", "--source", source])
    assert isinstance(done.exception, UserError)
    assert str(done.exception).startswith(f"--source {source!r}: ")
    assert tree(root) == before


@pytest.mark.parametrize("subfolder", ["data", "data/new", "raw/../data/new"])
def test_pictures_inside_data_are_refused_for_fresh_would_delete_them(root, subfolder):
    before = tree(scrape(root / "data" / "new", {"neutral/a.jpg": b"a"}))
    done = CliRunner().invoke(console.app, ["ingest", "folder", subfolder, "--fresh"])
    assert isinstance(done.exception, UserError)
    assert "Move it elsewhere" in str(done.exception)
    assert tree(root / "data" / "new") == before


def ingest(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    command = [Path(sys.executable).with_name("nsfw"), "ingest", "folder", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def versioned() -> tuple[set[str], str | None]:
    """Return the sources that data/ holds and the remote that data.dvc names; DVC has all of its bytes."""
    (out,) = yaml.safe_load(POINTER.read_text())["outs"]
    listed = json.loads(cached(out["md5"]).read_text())
    contents = {entry["relpath"]: cached(entry["md5"]).read_bytes() for entry in listed}
    assert contents == tree(paths.DATA)
    return set(sightings.load(paths.SIGHTINGS)["source"]), out.get("remote")


def cached(md5: str) -> Path:
    return Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]


@pytest.mark.slow
def test_a_project_goes_from_the_sample_to_its_own_pictures(root):
    first = ingest("raw", "--source", SAMPLE, "--json")
    assert (first.returncode, first.stderr) == (0, "")
    document = json.loads(first.stdout)
    assert re.fullmatch(f"b00000001-{SAMPLE}-[0-9a-f]{{12}}", document.pop("batch"))
    assert document == {
        "files": 2, "sighted": 2, "stored": 2, "refused": 0, "shards": 1, "removed": 0, "escalated": 0,
        "unscreened": 0, "skipped": {},
    }  # fmt: skip
    assert versioned() == ({SAMPLE}, "sample")
    pointer, data = POINTER.read_bytes(), tree(paths.DATA)

    refused = ingest("web")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: data/ still holds the bundled sample")
    assert all(option in refused.stderr for option in CHOICE)
    assert (POINTER.read_bytes(), tree(paths.DATA)) == (pointer, data)

    mixed = ingest("web", "--keep-sample")
    assert mixed.returncode == 0, mixed.stderr
    assert mixed.stdout.startswith("1 files: 1 new sightings, 1 new contents in 1 shards\n")
    assert "git add data.dvc && git commit -m 'Ingest web'" in mixed.stdout
    assert versioned() == ({SAMPLE, "web"}, None)
    assert data.items() <= tree(paths.DATA).items()
    before = yaml.safe_load(POINTER.read_text())["outs"][0]["md5"]

    anew = ingest("raw", "--source", "mine", "--fresh")
    assert anew.returncode == 0, anew.stderr
    assert versioned() == ({"mine"}, None)
    (table,) = paths.SIGHTINGS.iterdir()
    assert re.fullmatch("b00000001-mine-[0-9a-f]{12}.parquet", table.name)
    assert cached(before).exists()  # what it held can be checked out again

    assert ingest("raw", "--source", SAMPLE, "--fresh").returncode == 0
    assert versioned() == ({SAMPLE}, "sample")
    assert POINTER.read_bytes() == pointer


@pytest.mark.slow
def test_a_refusal_of_dvc_is_told_in_its_words(root):
    hold("mine")
    Path(".dvc/config").write_text("[nonsense\n")
    with pytest.raises(UserError, match=r"`dvc add data` failed: .*nonsense"):
        guard.add_data()
    assert not POINTER.exists()
