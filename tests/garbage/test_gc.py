"""`nsfw data gc` as a whole: on versions and branches, killed in between, and where it must not go on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.core.files import read_json, write_json
from pipeline.garbage.parts import amount
from pipeline.promotion import tracing
from pipeline.registry import ledger, loading
from pipeline.registry.ledger_entries import Draft
from pipeline.tracking.run_record import RECORD_FILE
from tests.garbage.conftest import checkout, commit, contents, git
from tests.support.registered_models import registered
from tests.support.tracking_helpers import begin


@pytest.fixture
def versions(versioned, client):
    """Three versions on two branches and a deleted one; the second is in the ledger. Decisions by commit:

    main: `one` (version 1), `two`. anna: `three` (version 2), `four`, `five`. ben, deleted: `six` (version 3), `seven`.
    """
    assert registered(b"model 1", versioned) == 1
    commit("two")
    checkout("-b", "anna", "main~1")
    commit("three")
    assert registered(b"model 2", versioned) == 2
    commit("four")
    commit("five")
    checkout("-b", "ben", "main")
    commit("six")
    assert registered(b"model 3", versioned) == 3
    commit("seven")
    checkout("main")
    git("branch", "-D", "ben")
    draft = Draft("promote", 2, None, "better", "a" * 64, "b" * 64)
    ledger.append(client, "nsfw", draft, ledger.read(client, "nsfw"))
    return versioned


def collected(nsfw, *options: str) -> dict:
    code, out, err = nsfw("data", "gc", "--json", *options)
    assert out, err
    document = json.loads(out)
    assert code == bool(document["problems"])
    return document


def listed(document: dict) -> dict[str, list[str]]:
    """The names of what goes, by kind."""
    groups = [group for part in document["parts"] for group in part["unused"]]
    return {group["kind"]: sorted(item["name"] for item in group["items"]) for group in groups}


def as_of_another_boot(folder: Path) -> None:
    """Make a run record one of a process that is not alive any more."""
    document = read_json(folder / RECORD_FILE)
    document["process"]["boot"] = "another"
    write_json(document, folder / RECORD_FILE)


def snapshot() -> dict[str, bytes]:
    stores = [Path(".cache"), Path(".dvc/cache"), Path("mlartifacts")]
    files = {path: path.read_bytes() for store in stores for path in store.rglob("*") if path.is_file()}
    return {path.as_posix(): data for path, data in files.items() if path.suffix != ".lock"}


def test_three_versions_two_branches_and_a_deleted_one(versions, client, nsfw, params):
    deleted = client.create_run(client.get_experiment_by_name("nsfw").experiment_id).info.run_id
    client.log_text(deleted, "text", "file.txt")
    client.delete_run(deleted)
    orphan = Path("mlartifacts") / ("a" * 32)
    orphan.mkdir()
    (orphan / "file").write_text("nobody's", encoding="utf-8")
    records = sorted(paths.RUNS.iterdir())
    unpublished = begin()
    unpublished.finish()
    for folder in paths.RUNS.iterdir():
        as_of_another_boot(folder)
    before = snapshot()

    dry = collected(nsfw, "--dry-run")
    assert dry["problems"] == []
    kinds = listed(dry)
    objects = [Path(name) for name in kinds.pop("objects")]
    assert {path.read_text(encoding="utf-8") for path in objects if path.suffix != ".dir"} == {"four", "seven"}
    assert len([path for path in objects if path.suffix == ".dir"]) == 2
    assert kinds == {
        "run records": [folder.as_posix() for folder in records],
        "runs": [deleted],
        "artifact folders": [f"mlartifacts/{'a' * 32}"],
    }
    assert dry["bytes"] > 0
    rest, lonely = dry["parts"][2]["notes"]
    assert rest.startswith("11 objects stay")  # five lists of folders, their decisions, and the shard
    assert "git tag version-3" in lonely
    _, out, _ = nsfw("data", "gc")
    assert (
        out.splitlines()[-1]
        == "a dry run: 9, " + amount(dry["bytes"]) + " can go; `nsfw data gc --delete` deletes them"
    )
    assert "  unused        4" in out
    assert snapshot() == before

    done = collected(nsfw, "--delete")
    assert (done["deleted"], done["bytes"]) == (True, dry["bytes"])
    assert contents() == {"shard", "one", "two", "three", "five", "six"}
    assert collected(nsfw)["count"] == 0
    assert not orphan.exists()
    assert unpublished.folder.is_dir()
    for number, decisions in ((1, "one"), (2, "three"), (3, "six")):
        traced = tracing.trace(params, str(number))
        assert traced["doubt"] == ""
        opened = loading.open_model(params, str(number))
        assert opened.model_file.read_bytes() == f"model {number}".encode()
        checkout(traced["commit"])
        assert Path("data/decisions.csv").read_text(encoding="utf-8") == decisions


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_it_comes_to_the_same_end(versions, nsfw):
    """It dies while DVC deletes."""
    (paths.TUNE).mkdir(parents=True)
    for number in range(3):
        (paths.TUNE / f"subset-{number}.tfrecord").write_bytes(b"rows")
    code = (
        "import os, sys\n"
        "left = [int(sys.argv.pop(1))]\n"
        "def hook(event, _):\n"
        "    if event in {'os.remove', 'shutil.rmtree'}:\n"
        "        left[0] -= 1\n"
        "        if left[0] < 0: os._exit(9)\n"
        "sys.addaudithook(hook)\n"
        "from pipeline.cli.console import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code]
    # Three subsets, and DVC's lists of two folders, which it looks for in two ways; the files of those stay.
    died = subprocess.run([*command, "7", "data", "gc", "--delete"], capture_output=True, check=False)
    assert died.returncode == 9, died.stderr
    left = collected(nsfw, "--delete")
    assert listed(left).keys() == {"objects"}
    assert 0 < left["count"] < 4
    assert contents() == {"shard", "one", "two", "three", "five", "six"}
    assert collected(nsfw)["count"] == 0


def test_without_a_versions_commit_dvcs_part_stops_and_names_it(versions, nsfw):
    lost = json.loads(nsfw("trace", "3", "--json")[1])["commit"]
    git("reflog", "expire", "--expire=now", "--all")
    git("gc", "-q", "--prune=now")
    before = contents()
    code, out, _ = nsfw("data", "gc", "--delete")
    assert code == 1
    (stopped,) = [line for line in out.splitlines() if "STOPPED" in line]
    assert f"git lacks the commit of version 3 ({lost})" in stopped
    assert "git fetch" in stopped
    assert "git tag" in stopped
    assert contents() == before


@pytest.mark.parametrize("what", ["nothing registered", "shared", "conflict", "no list", "no git"])
def test_where_needs_are_not_known_nothing_goes(versioned, makes_version, nsfw, what, tmp_path):
    """One clear message each."""
    if what != "nothing registered":
        makes_version()
    if what == "shared":
        shutil.copytree(".dvc/cache", tmp_path / "shared")
        Path(".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path}/shared\n", encoding="utf-8")
    if what == "conflict":
        checkout("-b", "other")
        commit("two")
        checkout("main")
        commit("three")
        subprocess.run(["git", "merge", "-q", "other"], capture_output=True, check=False)
    if what == "no list":
        commit("two")
        md5 = git("show", "HEAD~1:data.dvc").split("md5: ")[1].split()[0]
        (Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]).unlink()
    if what == "no git":
        shutil.rmtree(".git")
        Path(".dvc/config.local").write_text("[core]\n    no_scm = true\n", encoding="utf-8")
    expected = {
        "nothing registered": "MLFLOW_TRACKING_URI",
        "shared": "lies outside of this project",
        "conflict": "git has a conflict in data.dvc",
        "no list": "of version 1",
        "no git": "git has no commit here",
    }[what]
    before = snapshot()
    (problem,) = collected(nsfw, "--delete")["problems"]
    assert expected in problem
    assert snapshot() == before


@pytest.fixture
def makes_version(versioned, client):
    """Register a version that was trained at HEAD."""

    def make() -> None:
        registered(b"model", versioned)

    return make
