"""Two people's data/: by rows, by files, and through real `git merge`s in every order."""

import itertools
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import folder, merging, project, removal, shards, sightings
from pipeline.data.merge_rows import merge_files, merge_rows
from pipeline.data.merging import plan_files
from tests.support.pictures import LABELS, scrape, sha

HEADER = "sha256,old_label,new_label,reviewer,reason,decided_at,model_version\n"

row = st.tuples(st.sampled_from("abcdef"), st.sampled_from(["1", "2", "3", ""]))
rows = st.lists(row, max_size=6)


def merged(base, ours, theirs):
    return merge_rows(base, ours, theirs, lambda one: one[1])


@given(rows, rows, rows)
def test_no_new_row_is_lost_and_none_of_both_is_twice(base, mine, other):
    result = Counter(merged(base, base + mine, base + other))
    for one in {*mine, *other}:
        if one not in base:
            assert result[one] >= 1
    assert sum(result.values()) <= len(base) + len(mine) + len(other)
    assert Counter(base) <= result
    for one in set(mine) & set(other) - set(base):
        assert result[one] == 1


@given(rows, rows, rows)
def test_it_makes_no_difference_whose_side_is_whose(base, mine, other):
    assert merged(base, base + mine, base + other) == merged(base, base + other, base + mine)


@given(rows, rows)
def test_what_one_side_alone_added_comes_as_it_is(base, mine):
    assert merged(base, base + mine, base)[: len(base)] == base
    assert Counter(merged(base, base + mine, base)) == Counter(base + mine)


def test_the_latest_decision_is_last_and_a_deleted_row_stays_deleted():
    base = [("a", "1"), ("b", "1")]
    assert merged(base, [*base, ("a", "5")], [*base, ("a", "3"), ("c", "9")]) == [
        *base, ("a", "3"), ("a", "5"), ("c", "9"),
    ]  # fmt: skip
    assert merged(base, base[:1], [*base, ("c", "2")]) == [("a", "1"), ("c", "2")]


def test_files_of_one_side_are_taken_and_those_that_do_not_merge_are_named():
    base = {"shards/1.tar": "s", "sightings/1.parquet": "t", "decisions.csv": "d", "sources/a.yaml": "a"}
    ours = base | {"sightings/2.parquet": "o", "decisions.csv": "d1", "sources/b.yaml": "b1"}
    theirs = base | {"sightings/3.parquet": "p", "shards/1.tar": "purged", "sources/b.yaml": "b1"}
    plan = plan_files(base, ours, theirs)
    assert plan.problems == plan.delete == []
    assert plan.rows == ["decisions.csv"]
    assert plan.take["shards/1.tar"] == "purged"
    assert {"sightings/2.parquet", "sightings/3.parquet", "sources/b.yaml"} <= set(plan.take)

    (problem,) = plan_files(base, ours, theirs | {"sources/b.yaml": "b2"}).problems
    assert "sources/b.yaml differs on both branches" in problem
    fresh = {"sightings/9.parquet": "n"}
    assert any("--fresh" in text for text in plan_files(base, ours, fresh).problems)
    without = {path: md5 for path, md5 in base.items() if path != "sources/a.yaml"}
    assert plan_files(base, base, without).delete == ["sources/a.yaml"]


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done


@pytest.fixture
def versioned(project, monkeypatch):
    """A project with one batch, on the branch main."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    Path(".gitignore").write_text("/data\n/.cache\n", encoding="utf-8")
    run("git", "init", "-q", "-b", "main")
    for key, value in (("user.name", "t"), ("user.email", "t@example.org")):
        run("git", "config", key, value)
    run("dvc", "init", "-q")
    take(project, "first", ["one", "two", "three"])
    commit("first")
    return project


def take(root: Path, source: str, contents: list[str]) -> None:
    """Ingest a batch of these contents."""
    raw = scrape(root.parent / source, {f"neutral/{text}.jpg": text.encode() for text in contents})
    folder.ingest(folder.scan(raw, LABELS), paths.DATA, source)


def decide(text: str, label: str, when: str) -> None:
    if not paths.DECISIONS.exists():
        paths.DECISIONS.write_text(HEADER, encoding="utf-8")
    with paths.DECISIONS.open("a", encoding="utf-8") as file:
        file.write(f'{sha(text)},neutral,{label},kim,"a, b",{when},\n')


def commit(message: str) -> None:
    project_module.add_data()
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", message)


project_module = project


def branch(name: str) -> None:
    run("git", "checkout", "-q", "-b", name, "main")
    run("dvc", "checkout", "-q", "data.dvc")


def on_anna(root: Path) -> None:
    take(root, "anna", ["four", "one"])
    decide("one", "porn", "2026-11-01T10:00:00")
    decide("two", "sexy", "2026-11-03T10:00:00")


def on_ben(root: Path) -> None:
    take(root, "ben", ["five"])
    decide("two", "drawings", "2026-11-02T10:00:00")


def on_cleo(root: Path) -> None:
    take(root, "cleo", ["six"])
    removal.record(paths.SIGHTINGS, [sha("three")], "asked for", "sha256")
    removal.purge()
    decide("four", "drop", "2026-11-04T10:00:00")


PEOPLE = {"anna": on_anna, "ben": on_ben, "cleo": on_cleo}


def state() -> tuple:
    seen = sightings.load(paths.SIGHTINGS)
    bytes_of = sorted(member.sha256 for path in paths.SHARDS.glob("*.tar") for member in shards.list_members(path))
    origins = sorted(zip(seen["sha256"], seen["source"], seen["status"], strict=True))
    return origins, bytes_of, paths.DECISIONS.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.rare)])
def test_in_every_order_of_merges_nothing_is_lost_or_twice(versioned, nsfw, step):
    """The first and the last of the six orders; once a week all."""
    for name, act in PEOPLE.items():
        branch(name)
        act(versioned)
        commit(name)
    states = []
    for order in list(itertools.permutations(PEOPLE))[::step]:
        first, *others = order
        run("git", "checkout", "-q", "-f", "-b", "-".join(order), first)
        run("dvc", "checkout", "-q", "-f", "data.dvc")
        for other in others:
            stopped = run("git", "merge", "-q", other, check=False)
            assert stopped.returncode == 1
            code, out, err = nsfw("data", "merge")
            assert code == 0, err
            assert "next: git add data.dvc && git commit" in out
            run("git", "add", "-A")
            run("git", "commit", "-q", "-m", f"merge {other}")
        assert run("dvc", "status", "-q", "data.dvc", check=False).returncode == 0
        states.append(state())
    assert all(one == states[0] for one in states)
    origins, contents, decisions = states[0]
    assert contents == sorted(map(sha, ["one", "two", "four", "five", "six"]))
    assert [source for content, source, _ in origins if content == sha("one")] == ["anna", "first"]
    assert {content: status for content, _, status in origins}[sha("three")] == "removed"
    lines = pd.read_csv(paths.DECISIONS, dtype=str)
    assert len(lines) == 4
    assert lines[lines["sha256"] == sha("two")]["new_label"].tolist() == ["drawings", "sexy"]
    assert '"a, b"' in decisions


@pytest.mark.slow
def test_it_may_be_killed_and_rows_that_are_not_committed_yet_stay(versioned, nsfw, monkeypatch):
    for name in ("anna", "ben"):
        branch(name)
        PEOPLE[name](versioned)
        commit(name)
    decide("five", "drop", "2026-11-09T10:00:00")  # not committed
    run("git", "merge", "-q", "anna", check=False)

    def killed() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merging.project, "add_data", killed)
        with pytest.raises(KeyboardInterrupt):
            merging.merge()
    code, out, err = nsfw("data", "merge")
    assert (code, "1 batches" in out) == (0, True), err
    lines = pd.read_csv(paths.DECISIONS, dtype=str)
    assert Counter(lines["sha256"]) == {sha("two"): 2, sha("one"): 1, sha("five"): 1}
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "merged")
    code, _, err = nsfw("data", "merge")
    assert (code, "there is nothing to merge" in err) == (1, True)


@pytest.mark.slow
def test_a_version_that_was_never_pushed_is_named_and_nothing_changes(versioned):
    branch("anna")
    on_anna(versioned)
    commit("anna")
    other = run("git", "show", "anna:data.dvc").stdout
    branch("ben")
    on_ben(versioned)
    commit("ben")
    md5 = other.split("md5: ")[1].split()[0]
    shutil.rmtree(Path(".dvc/cache/files/md5") / md5[:2])
    before = state()
    run("git", "merge", "-q", "anna", check=False)
    with pytest.raises(UserError, match=r"data/ of the other branch is neither in DVC's cache nor in its remote"):
        merging.merge()
    assert state() == before


def test_line_ends_byte_order_mark_and_order_of_columns_stay_this_branchs(tmp_path):
    versions = {
        "base": b"sha256,slice\na,x\n",
        "ours": b"\xef\xbb\xbfslice,sha256\r\nx,a\r\ny,b\r\n",
        "theirs": b'sha256,slice\na,x\nc,"z, w"\n',
    }
    for name, content in versions.items():
        (tmp_path / name).write_bytes(content)
    content, new = merge_files("data/slices.csv", "", *(tmp_path / name for name in versions))
    assert content == b'\xef\xbb\xbfslice,sha256\r\nx,a\r\ny,b\r\n"z, w",c\r\n'
    assert new == 1
    (tmp_path / "theirs").write_bytes(b"sha256,tag\na,x\n")
    with pytest.raises(UserError, match=r"data/slices\.csv has other columns on the two branches"):
        merge_files("data/slices.csv", "", *(tmp_path / name for name in versions))


def test_a_file_that_only_the_other_branch_has_is_taken_as_it_is(tmp_path):
    (tmp_path / "theirs").write_text(HEADER + "a,,drop,kim,,,\n", encoding="utf-8")
    assert (
        merge_files("decisions.csv", "decided_at", None, None, tmp_path / "theirs")[0]
        .decode()
        .endswith("a,,drop,kim,,,\n")
    )
