"""Removal for good: the bytes are deleted from data/, hash and reason stay, and no later ingest stores it again."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.data import batch_writer, completeness, removal, removed_contents, shards, sightings
from pipeline.data import folder as folders
from pipeline.data import project as guard
from pipeline.stages import catalog
from pipeline.takedown import leftovers, selection
from pipeline.takedown.selection import Selector
from tests.support.pictures import LABELS, scrape, sha, tree

BODY = {name: f"the bytes of {name}".encode() * 40 for name in "abcdefg"}


def ingest(raw: Path | str, source: str) -> folders.IngestResult:
    return folders.ingest(folders.scan(Path(raw), LABELS), paths.DATA, source)


@pytest.fixture
def held(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two sources, of three and two shards: `a` is seen in both, `c` twice in one."""
    monkeypatch.setattr(batch_writer, "SHARD_PICTURES", 2)
    scrape(project / "raw", {f"neutral/{name}.jpg": BODY[name] for name in "abcde"} | {"porn/copy.jpg": BODY["c"]})
    scrape(project / "web", {"neutral/again.jpg": BODY["a"], "sexy/f.jpg": BODY["f"], "sexy/g.jpg": BODY["g"]})
    ingest("raw", "reddit")
    ingest("web", "web")
    return project


def remove(*names: str, reason: str = "ticket 1") -> list[str]:
    new = removal.record(paths.SIGHTINGS, [sha(BODY[name]) for name in names], reason, "--sha256 ...")
    removal.purge()
    return new


def stored() -> dict[str, bytes]:
    listed = [member for shard in paths.SHARDS.glob("*.tar") for member in shards.list_members(shard)]
    return {member.sha256: shards.read(paths.SHARDS, member) for member in listed}


def chosen(**selector) -> set[str]:
    selected = set(selection.select(sightings.load(paths.SIGHTINGS), Selector(**selector))["sha256"])
    return {name for name, body in BODY.items() if sha(body) in selected}


def test_the_bytes_leave_and_nothing_else_does(held):
    before = stored()
    assert remove("b", "f") == sorted([sha(BODY["b"]), sha(BODY["f"])])
    assert stored() == {name: data for name, data in before.items() if data not in {BODY["b"], BODY["f"]}}
    whole = tree(paths.DATA)
    assert [name for name, data in whole.items() if BODY["b"][:64] in data or BODY["f"][:64] in data] == []
    assert remove("b", "f") == []
    assert tree(paths.DATA) == whole
    assert completeness.check(paths.DATA) == []


def test_a_shard_of_nothing_else_goes_and_one_rewritten_is_as_if_it_had_never_held_more(held, tmp_path):
    names = sorted(path.name for path in paths.SHARDS.glob("*reddit*"))
    remove("a", "b", "c")
    left = sorted(path.name for path in paths.SHARDS.glob("*reddit*"))
    assert left == names[1:]
    alone = tmp_path / "alone.tar"
    shards.write(alone, [(sha(BODY["d"]), ".jpg", BODY["d"])])
    assert (paths.SHARDS / names[1]).read_bytes() == alone.read_bytes()


def test_the_sightings_keep_hash_and_reason_and_the_catalog_quarantines(held):
    tables_before = {path.name: path.read_bytes() for path in paths.SIGHTINGS.glob("*.parquet")}
    remove("c", reason="GDPR, ticket 812")
    assert {path.name: path.read_bytes() for path in paths.SIGHTINGS.glob("*.parquet")} == tables_before
    seen = sightings.load(paths.SIGHTINGS)
    gone = seen[seen["sha256"] == sha(BODY["c"])]
    assert set(gone["status"]) == {"removed"}
    assert set(gone["reason"]) == {"removed: GDPR, ticket 812"}
    assert set(gone["origin"]) == {"neutral/c.jpg", "porn/copy.jpg"}
    (row,) = removed_contents.load(paths.SIGHTINGS).to_dict("records")
    assert (row["reason"], row["selector"]) == ("GDPR, ticket 812", "--sha256 ...")
    assert row["removed_at"].endswith("Z")
    rows = [(member.sha256, "x.tar", 0, 1, "") for member in shards.list_members(min(paths.SHARDS.glob("*")))]
    results = pd.DataFrame(rows, columns=["sha256", "shard", "offset", "size", "reason"])
    quarantined = catalog.quarantine(seen, results)
    reasons = quarantined[quarantined["sha256"] == sha(BODY["c"])]["reason"]
    assert reasons.tolist() == ["removed: GDPR, ticket 812"] * 2


def test_a_later_ingest_refuses_it_wherever_it_comes_from(held):
    remove("a")
    again = ingest("raw", "reddit")  # the same files: seen before
    assert (again.sighted, again.stored, again.removed) == (0, 0, 1)
    scrape(Path("new"), {"porn/other name.jpg": BODY["a"], "porn/h.jpg": b"h"})
    new = ingest("new", "new")
    assert (new.sighted, new.stored, new.refused, new.removed) == (2, 1, 0, 1)
    assert sha(BODY["a"]) not in stored()
    seen = sightings.load(paths.SIGHTINGS).set_index("origin")
    assert seen.loc["porn/other name.jpg", ["status", "reason", "sha256"]].tolist() == [
        "removed", "removed: ticket 1", sha(BODY["a"]),
    ]  # fmt: skip
    scrape(Path("only"), {"porn/a.jpg": BODY["a"]})
    with pytest.raises(UserError, match=r"1 x removed: ticket 1"):
        ingest("only", "only")


def test_it_stays_refused_in_a_data_that_is_begun_anew(held, monkeypatch):
    remove("a")
    monkeypatch.setattr(guard, "add_data", lambda: None)
    guard.prepare_for_batch("reddit", fresh=True, keep_sample=False)
    assert sightings.load(paths.SIGHTINGS).empty
    assert not stored()
    assert ingest("raw", "reddit").removed == 1
    assert sha(BODY["a"]) not in stored()
    assert len(stored()) == 4


def test_selectors(held):
    assert chosen(sha256=(sha(BODY["a"]).upper(), f" {sha(BODY['f'])}")) == {"a", "f"}
    assert chosen(source="web") == {"a", "f", "g"}
    assert chosen(origin="neutral/a.jpg") == {"a"}
    assert chosen(origin="porn/*") == {"c"}
    assert chosen(origin="*", source="web") == {"a", "f", "g"}
    assert chosen(origin="sexy/*", source="web") == {"f", "g"}
    rows = selection.select(sightings.load(paths.SIGHTINGS), Selector(source="web"))
    assert "neutral/a.jpg" in set(rows["origin"])  # of a picture all files are told, of other sources too


def test_an_origin_that_looks_like_a_pattern_is_itself_first(held):
    scrape(Path("odd"), {"neutral/[1].jpg": b"odd", "neutral/1.jpg": b"one", "neutral/a*.jpg": b"star"})
    ingest("odd", "odd")
    selected = selection.select(sightings.load(paths.SIGHTINGS), Selector(origin="neutral/[1].jpg"))
    assert selected["sha256"].tolist() == [sha(b"odd")]
    selected = selection.select(sightings.load(paths.SIGHTINGS), Selector(origin="neutral/a*.jpg"))
    assert selected["sha256"].tolist() == [sha(b"star")]


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ({"sha256": ("z" * 64,)}, "is not 64 hexadecimal digits"),
        ({"sha256": ("ab",)}, "is not 64 hexadecimal digits"),
        ({"sha256": ("0" * 64,)}, "was ever seen"),
        ({"origin": "neutral/none.jpg"}, "no file was seen at"),
        ({"source": "imgur"}, "holds no source 'imgur', but: reddit, web"),
        ({"source": "web", "origin": "neutral/b.jpg"}, "no file was seen at"),
    ],
)
def test_what_selects_nothing_is_an_error(held, selector, words):
    with pytest.raises(UserError, match=words) as caught:
        chosen(**selector)
    assert "Nothing was removed" in str(caught.value)


@pytest.mark.parametrize(("step", "at_least"), [(4, 3), pytest.param(1, 12, marks=pytest.mark.slow)])
def test_killed_before_a_file_operation_and_run_again_it_ends_in_the_same_bytes(held, tmp_path, step, at_least):
    """Killed at every fourth writing operation; in the slow test at every one."""
    script = Path(__file__).parents[1] / "support" / "killed_removal.py"
    command = [sys.executable, script, held, tmp_path / "work", sha(BODY["c"]), str(step)]
    subprocess.run(command, check=True, timeout=300)
    whole, *killed = [tree(run / "data") for run in sorted((tmp_path / "work").iterdir(), reverse=True)]
    assert len(killed) >= at_least

    def without_act(data: dict[str, bytes]) -> dict[str, bytes]:  # its moment is the clock's
        return {name: content for name, content in data.items() if "removed/" not in name}

    for run in killed:
        assert without_act(run) == without_act(whole)
        (act,) = [name for name in run if "removed/" in name]
        assert sha(BODY["c"]) in run[act].decode()
        assert not any(BODY["c"][:64] in content for content in run.values())


def test_an_act_that_somebody_damaged_is_told(held):
    remove("a")
    (act,) = (paths.SIGHTINGS / removed_contents.FOLDER).glob("*.csv")
    act.write_text(act.read_text().replace(sha(BODY["a"]), "zz"))
    with pytest.raises(UserError, match=r"line 2: 'zz' is no sha256"):
        sightings.load(paths.SIGHTINGS)


def test_results_that_the_catalog_keeps_of_it_are_forgotten(held):
    for name, contents in {"one": "ab", "two": "cd"}.items():
        frame = pd.DataFrame({"sha256": [sha(BODY[content]) for content in contents]})
        tables.write_parquet(frame, paths.CATALOG_CACHE / f"{name}.parquet")
    assert leftovers.delete_catalog_cache({sha(BODY["d"])}) == 1
    assert [path.name for path in paths.CATALOG_CACHE.iterdir()] == ["one.parquet"]


@pytest.mark.slow
def test_where_it_still_lies_in_dvcs_cache_and_remotes(held):
    """Search for the bytes themselves: only what the command names holds them, and deleting that deletes them."""
    for command in (["git", "init", "-q"], ["git", "add", "params.yaml"]):
        subprocess.run(command, check=True)
    config = (
        "[core]\nanalytics = false\n['remote \"near\"']\nurl = near\n['remote \"far\"']\nurl = s3://user:pw@bucket/p\n"
    )
    scrape(held, {".dvc/config": config.encode()})
    guard.add_data()
    shards_of_it = [path.read_bytes() for path in paths.SHARDS.iterdir() if BODY["c"][:64] in path.read_bytes()]
    assert len(shards_of_it) == 1
    (cached,) = [path for path in Path(".dvc/cache").rglob("*") if path.is_file() and path.read_bytes() in shards_of_it]
    pushed = Path(".dvc/near/files/md5") / cached.parent.name / cached.name
    pushed.parent.mkdir(parents=True)
    pushed.write_bytes(cached.read_bytes())
    remove("c")
    guard.add_data()
    tables.write_csv(pd.DataFrame({"sha256": [sha(BODY["c"])], "slice": ["x"]}), paths.SLICES)

    selected = leftovers.collect({sha(BODY["c"])})
    assert [Path(path).resolve() for path in selected["cache"]] == [cached.resolve()]
    assert selected["unknown"] == []
    assert {remote["name"]: remote["held"] for remote in selected["remotes"]} == {
        "near": [str(held / pushed)], "far": None,
    }  # fmt: skip
    assert selected["people"] == {"decisions.csv": 0, "reports.csv": 0, "slices.csv": 1}
    text = "\n".join(leftovers.describe(selected))
    assert "user:pw" not in text
    raw = [path for path in held.rglob("*") if path.is_file() and BODY["c"][:64] in path.read_bytes()]
    outside = {path.resolve() for path in raw if held / "raw" not in path.parents}
    held_by = {Path(path).resolve() for remote in selected["remotes"] for path in remote["held"] or []}
    assert outside == {Path(path).resolve() for path in selected["cache"]} | held_by
    for path in outside:
        assert path.name in text
