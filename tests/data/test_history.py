import hashlib
import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

CACHE = Path(".dvc/cache/files/md5")


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], check=True, capture_output=True)


def store(content: bytes, ending: str = "") -> str:
    """Put an object into DVC's cache."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + ending
    (CACHE / md5[:2]).mkdir(parents=True, exist_ok=True)
    (CACHE / md5[:2] / md5[2:]).write_bytes(content)
    return md5


def table(**columns) -> str:
    return store(pd.DataFrame(columns).to_parquet())


def put(sightings: list[int], splits: list[str]) -> dict[str, str]:
    """Write data.dvc and dvc.lock, and what they name."""
    entries = [{"relpath": f"sightings/{n}.parquet", "md5": table(sha256=[f"{n}"] * n)} for n in sightings]
    raw = store(json.dumps([*entries, {"relpath": "decisions.csv", "md5": "0" * 32}]).encode(), ".dir")
    deduped, split = table(sha256=[str(n) for n in range(len(splits))]), table(split=splits)
    Path("data.dvc").write_text(yaml.safe_dump({"outs": [{"path": "data", "md5": raw}]}))
    stages = {
        "dedupe": {"outs": [{"path": "build/deduped.parquet", "md5": deduped}]},
        "split": {"outs": [{"path": "build/splits.parquet", "md5": split}, {"path": "metrics/split.json", "md5": "1"}]},
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    return {"raw": raw, "deduped": deduped, "splits": split}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits, and a third version that is not committed."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    analytics = false\n")
    Path(".gitignore").write_text("/.dvc/cache\n/.dvc/tmp\n")
    Path("params.yaml").write_text("")
    made = []
    for number, splits in enumerate((["train"], ["train", "train", "val", "test"])):
        made.insert(0, put([3, 4][: number + 1], splits))
        git("add", ".")
        git("commit", "-qm", f"version {number}")
        Path("other").write_text(f"{number}")
        git("add", ".")
        git("commit", "-qm", "nothing of the data")
    return made


def test_a_row_for_each_commit_that_changes_a_version_and_for_what_is_not_committed(repository, nsfw):
    code, out, _ = nsfw("data", "versions", "--json")
    rows = json.loads(out)["versions"]
    assert code == 0
    assert [row["subject"] for row in rows] == ["version 1", "version 0"]
    assert [{name: row[name] for name in ("raw", "deduped", "splits")} for row in rows] == repository
    assert [(row["sighted"], row["pictures"]) for row in rows] == [(7, 4), (3, 1)]
    assert rows[0]["by_split"] == {"train": 2, "val": 1, "test": 1}
    put([3, 4, 5], ["train", "test"])
    first, *others = json.loads(nsfw("data", "versions", "--json")[1])["versions"]
    assert others == rows
    assert (first["commit"], first["sighted"], first["by_split"]["test"]) == ("uncommitted", 12, 1)
    lines = nsfw("data", "versions", "--limit", "1")[1].splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["uncommitted", rows[0]["commit"]]
    assert "2/1/1" in lines[2]
    assert "git add data.dvc dvc.lock params.yaml" in lines[-1]


def test_bytes_that_are_not_here_leave_the_digests(repository, nsfw):
    for path in CACHE.rglob("*"):
        if path.is_file():
            path.unlink()
    row = json.loads(nsfw("data", "versions", "--json")[1])["versions"][0]
    assert (row["sighted"], row["pictures"], row["by_split"]) == (None, None, None)
    assert row["raw"] == repository[0]["raw"]


def test_a_merge_conflict_is_a_row_without_a_version(repository, nsfw):
    Path("data.dvc").write_text("<<<<<<< ours\nouts: [\n")
    row = json.loads(nsfw("data", "versions", "--json")[1])["versions"][0]
    assert (row["commit"], row["raw"], row["pictures"]) == ("uncommitted", None, 4)


def test_outside_git_it_says_why(tmp_path, nsfw, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    Path(".dvc").mkdir()
    Path("params.yaml").write_text("")
    code, _, err = nsfw("data", "versions")
    assert code == 1
    assert "git refuses, and its commits are what versions the data: fatal: not a git repository" in err
