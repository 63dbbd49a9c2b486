"""A picture that a list knows never reaches data/, a cache or a log: by folder, or by what lay there before."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core import paths, tables
from pipeline.data import completeness, escalations, removed_contents, shards, sightings
from pipeline.data import folder as folders
from pipeline.images import thumbnails
from pipeline.params.root import load_params
from pipeline.screening.stream import Stream
from pipeline.stages import catalog as stage
from pipeline.takedown import clearing, leftovers, rescreen, takedown
from pipeline.tar_ingest.archives import find
from pipeline.tar_ingest.ingest import Intake
from pipeline.tar_ingest.labels import rule
from tests.support.pictures import LABELS, scrape, sha, tree
from tests.support.screens import CONTACT, configure, copies, detailed, jpeg_of, meta_hash, opened, python_hook
from tests.support.webdataset import sample, shard

EVIL = detailed(1)
PLANTED = {"exact": jpeg_of(EVIL), **copies(EVIL)}
GOOD = {f"neutral/{number}.jpg": jpeg_of(detailed(number)) for number in range(2, 8)}


@pytest.fixture
def listed(project):
    """A list that knows EVIL by PDQ, and the word `evil` by sha256."""
    configure({"partner": ("pdq", meta_hash(EVIL)), "own": ("sha256", sha("evil"))})
    return project


def ingest(root: Path, **more) -> folders.IngestResult:
    return folders.ingest(folders.scan(root, LABELS), paths.DATA, "web", screen=Stream(opened()), **more)


def holding(folder: Path, contents) -> list[str]:
    """The files below a folder that hold a part of one of these contents."""
    parts = [content[len(content) // 2 :][:40] for content in contents]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(part in path.read_bytes() for part in parts)]


def test_planted_copies_are_recorded_and_nothing_of_them_is_stored(listed, tmp_path):
    planted = {f"porn/{name}.jpg": content for name, content in PLANTED.items()} | {"sexy/e.jpg": b"evil"}
    taken = ingest(scrape(tmp_path / "raw", GOOD | planted))
    assert (taken.sighted, taken.stored, taken.escalated, taken.refused) == (11, 6, 5, 0)
    assert holding(Path(), PLANTED.values()) == []
    seen = sightings.load(paths.SIGHTINGS).set_index("origin")
    assert set(seen.loc[list(planted), "status"]) == {"escalated"}
    assert seen.loc["porn/cropped.jpg", "reason"] == "escalated: matches partner"
    assert seen.loc["sexy/e.jpg", "sha256"] == sha("evil")
    records = escalations.load(paths.ESCALATION_RECORDS).set_index("origin")
    assert set(records.index) == set(planted)
    assert set(records["door"]) == {"ingest folder"}
    assert records.loc["porn/exact.jpg", "distance"] in {"0", "2", "4"}


def test_ingesting_again_adds_nothing_and_a_list_that_is_gone_lets_nothing_back_in(listed, tmp_path):
    root = scrape(tmp_path / "raw", GOOD | {"porn/a.jpg": PLANTED["exact"]})
    ingest(root)
    before = paths.ESCALATION_RECORDS.read_bytes()
    again = ingest(root)
    assert (again.batch, again.escalated) == (None, 1)
    configure({})
    taken = folders.ingest(folders.scan(root, LABELS), paths.DATA, "later")
    assert (taken.stored, taken.escalated) == (0, 1)
    assert paths.ESCALATION_RECORDS.read_bytes() == before
    assert holding(Path(), [PLANTED["exact"]]) == []


def test_what_was_stored_before_its_list_came_is_taken_out_when_it_is_met_again(project, tmp_path):
    root = scrape(tmp_path / "raw", GOOD | {"porn/a.jpg": PLANTED["exact"]})
    folders.ingest(folders.scan(root, LABELS), paths.DATA, "web")
    configure({"partner": ("pdq", meta_hash(EVIL))})
    ingest(root)
    clearing.clear_escalated()
    assert holding(paths.DATA, [PLANTED["exact"]]) == []
    completeness.check(paths.DATA)


def test_a_folder_of_nothing_else_is_recorded_too(listed, tmp_path):
    taken = ingest(scrape(tmp_path / "raw", {"porn/a.jpg": PLANTED["exact"]}))
    assert (taken.stored, taken.escalated) == (0, 1)
    assert len(escalations.load(paths.ESCALATION_RECORDS)) == 1


def test_pictures_without_an_answer_are_refused_and_taken_the_next_time(project, tmp_path):
    answer = "import sys; sys.exit(3) if b'flaky' in sys.stdin.buffer.read() else print('{\"match\": false}')"
    configure({}, hooks=[python_hook(answer)])
    root = scrape(tmp_path / "raw", {"neutral/a.jpg": b"fine", "neutral/b.jpg": b"flaky"})
    taken = ingest(root)
    assert (taken.stored, taken.refused, taken.unscreened) == (1, 1, 1)
    row = sightings.load(paths.SIGHTINGS).set_index("origin").loc["neutral/b.jpg"]
    assert row["status"] == "refused"
    assert pd.isna(row["sha256"])
    assert row["reason"].startswith("unscreened: hook photo: ")
    configure({"own": ("md5", "0" * 32)}, hooks=[])
    assert ingest(root).stored == 1


@pytest.mark.parametrize(("step", "at_least"), [(5, 8), pytest.param(1, 45, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_run_again_each_match_is_recorded_once_and_none_is_stored(
    project, tmp_path, step, at_least
):
    """Killed before every fifth file operation below data/; in the slow test before every one."""
    configure({"own": ("sha256", "\n".join((sha("evil 0"), sha("evil 1"))))})
    evil = {f"{n}-batch/{label}/{n}.jpg": f"evil {n}".encode() for n in range(2) for label in ("drawings", "neutral")}
    good = {f"{n % 2}-batch/neutral/good-{n}.jpg": f"{n // 2}".encode() * 50 for n in range(6)}
    scrape(tmp_path / "raw", evil | good)
    script, work = Path(__file__).parents[1] / "support" / "killed_ingest.py", tmp_path / "work"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [sys.executable, script, tmp_path / "raw", work, str(step), project]
    subprocess.run(arguments, check=True, timeout=300, env=environment)
    whole, *killed = [state(run / "data") for run in sorted(work.iterdir(), reverse=True)]
    assert len(killed) >= at_least
    assert [run for run in killed if run != whole] == []
    assert sorted((row[0], row[8]) for row in whole["records"]) == sorted(
        (sha(f"evil {n}"), f"{label}/{n}.jpg") for n in range(2) for label in ("drawings", "neutral")
    )
    assert holding(work, {b"evil 0", b"evil 1"}) == []


def state(data: Path) -> dict[str, object]:
    """What an ingest leaves in data/, but for the times at which matches were seen."""
    records = escalations.load(data / "escalations.csv").drop(columns=["screened_at", "line"])
    removed = removed_contents.load(data / "sightings")[["sha256", "reason", "selector"]]
    tables_of_acts = {"records": sorted(records.to_numpy().tolist()), "removed": sorted(removed.to_numpy().tolist())}
    files = {name: content for name, content in tree(data).items() if name.startswith(("shards/", "sightings/b"))}
    return files | tables_of_acts


def test_archives_are_screened_as_folders_are(listed, tmp_path):
    members = [(name, sample(name, content, label="porn")) for name, content in (PLANTED | {"e": b"evil"}).items()]
    good = [sample(f"good{n}", content, label="neutral") for n, content in enumerate(GOOD.values())]
    shard(tmp_path / "out/00000.tar", *(member for _, member in members), *good)
    intake = Intake(find([tmp_path / "out"]), rule(LABELS, None, "label"), 1_000_000)
    taken = intake.write(paths.DATA, "laion", screen=Stream(opened()))
    assert (taken.sighted, taken.stored, taken.escalated, taken.refused) == (11, 6, 5, 0)
    assert holding(Path(), PLANTED.values()) == []
    records = escalations.load(paths.ESCALATION_RECORDS)
    assert (len(records), set(records["door"])) == (5, {"ingest tars"})


def test_catalog_quarantines_what_is_escalated(listed, tmp_path):
    ingest(scrape(tmp_path / "raw", GOOD | {"porn/a.jpg": PLANTED["exact"]}))
    stage.main()
    rows = tables.read_csv(paths.QUARANTINE, ("sha256", "origin", "reason"))
    assert rows[["origin", "reason"]].to_numpy().tolist() == [["porn/a.jpg", "escalated: matches partner"]]
    assert len(tables.read_parquet(paths.CATALOG)) == len(GOOD)


@pytest.fixture
def versioned(project, tmp_path, monkeypatch):
    """Pictures that were ingested before any list came; thumbnails and cached results of them."""
    monkeypatch.setattr(rescreen.project, "add_data", lambda: None)
    monkeypatch.setattr(takedown, "versions_of", lambda *_: ([], "nothing is registered"))
    monkeypatch.setattr(leftovers.dvc_pointer, "cache_folder", lambda: None)
    monkeypatch.setattr(leftovers, "_remotes", list)
    contents = GOOD | {"porn/a.jpg": PLANTED["exact"], "sexy/b.jpg": PLANTED["exact"], "porn/c.jpg": PLANTED["cropped"]}
    folders.ingest(folders.scan(scrape(tmp_path / "raw", contents), LABELS), paths.DATA, "web")
    stage.main()
    thumbnail = thumbnails.path_of(sha(PLANTED["exact"]))
    thumbnail.parent.mkdir(parents=True)
    thumbnail.write_bytes(b"pixels")
    configure({"partner": ("pdq", meta_hash(EVIL))})
    return thumbnail


def test_data_screen_takes_out_what_a_grown_list_knows(versioned):
    report = rescreen.screen(load_params(), opened())
    assert {row["sha256"] for row in report["pictures"]} == {sha(PLANTED["exact"]), sha(PLANTED["cropped"])}
    assert report["screened"] == len(GOOD) + 2
    assert holding(Path(), [PLANTED["exact"], PLANTED["cropped"]]) == []
    assert not versioned.exists()
    records = escalations.load(paths.ESCALATION_RECORDS)
    assert set(records["origin"]) == {"porn/a.jpg", "sexy/b.jpg", "porn/c.jpg"}
    assert set(records["door"]) == {"data screen"}
    assert set(sightings.load(paths.SIGHTINGS)["status"]) == {"stored", "escalated"}
    lines = "\n".join(rescreen.describe(report))
    assert f"CALL {CONTACT}" in lines
    assert "what is left of it" in lines
    assert rescreen.screen(load_params(), opened())["pictures"] == []
    stage.main()
    assert len(tables.read_parquet(paths.CATALOG)) == len(GOOD)


def test_a_dry_run_of_data_screen_writes_nothing(versioned):
    before = {path: path.read_bytes() for path in paths.DATA.rglob("*") if path.is_file()}
    report = rescreen.screen(load_params(), opened(), dry_run=True)
    assert len(report["pictures"]) == 2
    assert {path: path.read_bytes() for path in paths.DATA.rglob("*") if path.is_file()} == before
    assert "nothing was written" in rescreen.describe(report)[-1]


def test_data_screen_leaves_what_it_gets_no_answer_for_and_says_so(versioned):
    configure({}, hooks=[python_hook("import sys; sys.exit(len(sys.stdin.buffer.read()) % 2)")])
    report = rescreen.screen(load_params(), opened(patient=True))
    assert all(row["reason"].startswith("unscreened: hook photo") for row in report["unscreened"])
    assert len(shards.list_members(next(paths.SHARDS.glob("*.tar")))) == len(GOOD) + 2


def test_nsfw_tells_whom_to_call(listed, tmp_path, nsfw, monkeypatch):
    monkeypatch.setattr("pipeline.data.project.add_data", lambda: None)
    Path(".dvc").mkdir(exist_ok=True)
    root = scrape(tmp_path / "raw", GOOD | {"porn/a.jpg": PLANTED["exact"]})
    code, out, _ = nsfw("ingest", "folder", root, "--source", "web")
    assert code == 0
    assert f"CALL {CONTACT}" in out
    assert "1 file matches a list" in out
    code, out, _ = nsfw("ingest", "folder", root, "--source", "web", "--json")
    assert json.loads(out)["escalated"] == 1


def test_a_list_that_cannot_be_read_stops_an_ingest_before_anything_is_written(listed, tmp_path, nsfw):
    Path(".dvc").mkdir(exist_ok=True)
    Path("partner.txt").unlink()
    code, _, err = nsfw("ingest", "folder", scrape(tmp_path / "raw", GOOD), "--source", "web")
    assert code == 1
    assert "partner.txt, the pdq list 'partner', cannot be read" in err
    assert not paths.SIGHTINGS.exists()


def test_data_screen_without_lists_says_that_there_are_none(project, nsfw):
    Path(".dvc").mkdir(exist_ok=True)
    code, _, err = nsfw("data", "screen")
    assert code == 1
    assert "no list and no hook" in err
