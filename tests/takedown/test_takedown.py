"""`nsfw data remove` on a project whose stages have run: trained versions, near copies, and the stages afterwards."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core import paths, tables
from pipeline.data import dvc_pointer, removal, removed_contents, sightings
from pipeline.data import folder as folders
from pipeline.data import project as guard
from pipeline.images import thumbnails
from pipeline.params.root import load_params
from pipeline.stages import split as splitting
from pipeline.takedown import learned_versions, takedown
from pipeline.takedown.selection import Selector
from tests.support.pictures import scrape, sha, tree
from tests.support.trained_project import run


def one_of(part: str) -> str:
    """Return a picture of a split."""
    splits = tables.read_parquet(paths.SPLITS)
    return splits[splits["split"] == part]["sha256"].min()


@pytest.fixture
def unversioned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DVC, which takes seconds and is tested elsewhere."""
    monkeypatch.setattr(guard, "add_data", lambda: None)
    refused = subprocess.CompletedProcess[str]([], 1, "", "")
    monkeypatch.setattr(dvc_pointer, "dvc", lambda *_: refused)


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MLflow, which takes seconds."""
    monkeypatch.setattr(takedown, "versions_of", lambda *_: ([], ""))


def test_versions_that_learned_from_it_are_named_by_the_part_that_it_was_in(in_project):
    for part in splitting.SPLITS:
        (row,) = learned_versions.versions_trained_on(load_params(), {one_of(part), "0" * 64})
        assert (row["version"], row["aliases"], row["doubt"]) == (1, ["challenger"], "")
        assert {name: row[name] for name in splitting.SPLITS} == {
            name: [one_of(part)] if name == part else [] for name in splitting.SPLITS
        }
    (row,) = learned_versions.versions_trained_on(load_params(), {"0" * 64})
    assert learned_versions.lines([row]) == ["  version 1 (challenger): learned from none of them"]


def test_where_the_table_cannot_be_had_that_is_told_and_not_no(in_project, monkeypatch):
    monkeypatch.setattr(learned_versions, "_split_tables", lambda: iter([paths.DEDUPED, Path("gone")]))
    (row,) = learned_versions.versions_trained_on(load_params(), {one_of("train"), one_of("val")})
    assert row["val"] == [one_of("val")]  # its own predictions tell
    assert "not in this machine's DVC cache" in row["doubt"]
    (line,) = learned_versions.lines([row])
    assert "was chosen by 1 of them" in line
    assert "is not known" in line


def test_tables_of_earlier_runs_are_found_by_dvcs_records(project, monkeypatch):
    cache = project / "cache" / "files" / "md5"
    monkeypatch.setattr(learned_versions.dvc_pointer, "cache_folder", lambda: cache)
    lock = {"schema": "2.0", "stages": {"split": {"outs": [{"path": "build/splits.parquet", "md5": "aa11"}]}}}
    old = {"cmd": "x", "outs": [{"path": "build/splits.parquet", "md5": "bb22"}, {"path": "other", "md5": "cc33"}]}
    scrape(project, {"dvc.lock": json.dumps(lock).encode(), "cache/runs/ab/abcd/ef": json.dumps(old).encode(),
                     "cache/runs/ab/abcd/broken": b"\xff: ["})  # fmt: skip
    tables_listed = list(learned_versions._split_tables())
    assert tables_listed == [paths.SPLITS, cache / "aa" / "11", cache / "bb" / "22"]


def test_a_dry_run_writes_nothing_and_a_server_that_is_down_costs_no_removal(project_copy, unversioned, monkeypatch):
    before = tree(paths.DATA)
    train = one_of("train")
    with monkeypatch.context() as patch:
        patch.setattr(takedown, "versions_of", lambda *_: ([], ""))
        report = takedown.remove(load_params(), Selector((train,)), "ticket 1", dry_run=True)
    assert tree(paths.DATA) == before
    assert (report["new"], list(report["shards"].values()), report["left"]) == (1, [1], None)
    assert "nothing was written" in takedown.describe(report)[-1]

    report = takedown.remove(load_params(), Selector((train,)), "ticket 1")
    assert "MLflow cannot be asked" in report["versions_problem"]
    assert report["left"]["derived"].keys() >= {"build/packed", "build/fingerprints.parquet"}
    assert report["left"]["people"] == {"decisions.csv": 0, "reports.csv": 0, "slices.csv": 0}
    monkeypatch.setattr(takedown, "versions_of", lambda *_: ([], ""))
    again = takedown.remove(load_params(), Selector((train,)), "another word")
    assert (again["new"], again["shards"]) == (0, {})
    assert removed_contents.load(paths.SIGHTINGS)["reason"].tolist() == ["ticket 1"]
    assert takedown.describe(again)[0].startswith("removed 1 pictures, 0 of them not removed before")


def test_after_a_removal_the_stages_run_and_no_table_but_the_quarantine_names_it(project_copy, unversioned, unasked):
    gone = {one_of(part) for part in splitting.SPLITS}
    rows = pd.DataFrame({"sha256": sorted(gone)})
    tables.write_csv(rows.assign(expected_label="porn", slice="", ticket="1", reported_at="2026-01-01"), paths.REPORTS)
    decided = {"old_label": "porn", "new_label": "neutral", "reviewer": "a", "reason": "", "decided_at": ""}
    tables.write_csv(rows.assign(**decided, model_version=""), paths.DECISIONS)
    shown = [thumbnails.path_of(sha256) for sha256 in (*gone, "f" * 64)]
    for path in shown:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a thumbnail")
    takedown.remove(load_params(), Selector(tuple(gone)), "ticket 1")
    assert [path.exists() for path in shown] == [False, False, False, True]
    shutil.rmtree(paths.BUILD / "packed")
    for stage in ("catalog", "validate", "dedupe", "split", "pack"):
        run(stage)
    quarantined = tables.read_csv(paths.QUARANTINE, ["sha256", "reason"])
    assert set(quarantined[quarantined["reason"] == "removed: ticket 1"]["sha256"]) == gone
    for path in (paths.CATALOG, paths.FINGERPRINTS, paths.DEDUPED, paths.DUPLICATES, paths.SPLITS):
        assert not set(tables.read_parquet(path)["sha256"]) & gone, path
    packed = b"".join(path.read_bytes() for path in paths.PACKED.iterdir())
    assert not any(sha256.encode() in packed for sha256 in gone)
    assert sightings.load(paths.SIGHTINGS)["status"].eq("removed").sum() >= 3


def test_near_copies_are_listed_and_not_removed(project):
    scrape(project / "raw", {f"neutral/{name}.jpg": name.encode() for name in "abcdef"})
    folders.ingest(folders.scan(Path("raw"), ["neutral"]), paths.DATA, "web")
    seen = sightings.load(paths.SIGHTINGS)
    nothing, problem = takedown.near_copies(seen, {sha("a")})
    assert nothing == []
    assert "dvc repro dedupe" in problem
    tables.write_parquet(pd.DataFrame({"sha256": map(sha, "adf"), "cluster": ["1", "2", "3"]}), paths.DEDUPED)
    copies = {"sha256": map(sha, "bce"), "cluster": ["1", "1", "2"], "kind": "near", "distance": [7, 3, 5]}
    tables.write_parquet(pd.DataFrame(copies), paths.DUPLICATES)
    near, problem = takedown.near_copies(seen, {sha("b")})
    assert problem == ""
    assert [(row["sha256"], row["distance"], row["of"], row["files"]) for row in near] == [
        (sha("c"), 3, [sha("b")], ["neutral/c.jpg"]),
        (sha("a"), None, [sha("b")], ["neutral/a.jpg"]),
    ]
    removal.record(paths.SIGHTINGS, [sha("a")], "ticket", "--origin neutral/a.jpg")
    seen = sightings.load(paths.SIGHTINGS)
    assert [row["sha256"] for row in takedown.near_copies(seen, {sha("b")})[0]] == [sha("c")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reason", "x"], "say which"),
        (["--reason", " ", "--source", "a"], "is empty"),
        (["--source", "a"], "--reason"),
        (["--reason", "x", "--sha256", "0" * 64, "--source", "a"], "--sha256 goes with"),
    ],
)
def test_wrong_usage_is_exit_2(project, nsfw, arguments, words):
    code, _, err = nsfw("data", "remove", *arguments)
    assert code == 2
    assert words in err


def test_elsewhere_or_without_data_it_says_so(project, nsfw):
    assert "not the project's root" in nsfw("data", "remove", "--reason", "x", "--source", "a")[2]
    Path(".dvc").mkdir()
    assert "dvc pull data.dvc" in nsfw("data", "remove", "--reason", "x", "--source", "a")[2]
