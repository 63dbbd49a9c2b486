"""What versions need, and which commits stay for it."""

import shutil
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data import dvc_objects
from pipeline.garbage import collection, commits, objects
from pipeline.garbage.parts import amount
from pipeline.registry import ledger, version_needs
from pipeline.registry.evidence_store import EVIDENCE_TAG
from pipeline.registry.ledger_entries import Draft
from pipeline.registry.version_needs import VersionNeeds
from pipeline.tracking import server
from tests.garbage.conftest import commit, git
from tests.support.tracking_helpers import begin

FIRST, SECOND = "a" * 64, "b" * 64


def need(name: str, sha: str | None, *, is_ours: bool = True) -> VersionNeeds:
    return VersionNeeds(name, sha, None, (), is_ours)


@pytest.fixture
def version(client):
    """Make a version of a model with these tags of its own and of its run."""

    def make(tags: dict[str, str], run_tags: dict[str, str], model: str = "nsfw") -> str:
        run = client.create_run(server.experiment_id(client), tags=run_tags)
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model)
        created = client.create_model_version(
            model, f"runs:/{run.info.run_id}/model", run_id=run.info.run_id, tags=tags
        )
        return str(created.version)

    return make


def test_every_version_and_those_of_the_ledger_that_were_deleted(version, client):
    version({"nsfw.git_commit": "own", EVIDENCE_TAG: SECOND}, {"nsfw.git_commit": "run's", "nsfw.data_md5": "1.dir"})
    version({}, {"nsfw.git_commit": "c2", "nsfw.kind": "import"})
    version({"nsfw.git_commit": "c3"}, {"nsfw.git_commit": "c3"})
    version({"nsfw.git_commit": "c4"}, {}, model="other")
    for number in (1, 3):
        draft = Draft("promote", number, None, "better", "f" * 64, FIRST)
        ledger.append(client, "nsfw", draft, ledger.read(client, "nsfw"))
    client.delete_model_version("nsfw", "3")
    rows = {need.name: need for need in version_needs.collect(client, "nsfw")}
    first, imported, deleted, other = rows.values()
    assert first == VersionNeeds("version 1", "own", "1.dir", (FIRST, SECOND), is_ours=True)
    assert (imported.commit, imported.is_ours) == ("c2", False)
    assert (deleted.name, deleted.commit) == ("version 3 (of the ledger; deleted from the registry)", "c3")
    assert deleted.is_ours
    assert (other.name, other.commit, other.is_ours) == ("other version 1", "c4", False)


def test_commits_of_refs_and_of_versions(versioned):
    first = git("rev-parse", "HEAD")
    git("tag", "-a", "v1", "-m", "tagged")
    second = commit("two")
    git("update-ref", "refs/remotes/origin/theirs", commit("three"))
    third = git("rev-parse", "HEAD")
    git("reset", "-q", "--hard", second)
    lost = commit("lost")
    git("reset", "-q", "--hard", second)
    assert commits.of_refs() == {first: "v1", second: "main", third: "origin/theirs"}
    named = commits.of_versions([need("version 1", first), need("version 2", lost), need("version 3", None)])
    assert named == {first: "version 1", lost: "version 2"}
    assert commits.unreachable(named) == {lost: "version 2"}
    absent = need("version 4", "e" * 40)
    assert commits.of_versions([need("of another project", "e" * 40, is_ours=False)]) == {}
    for text in ("e" * 40, "--help", "main", "HEAD"):  # anybody may write a tag
        with pytest.raises(UserError, match="git lacks the commit of version 4"):
            commits.of_versions([need("version 4", text)])
    clone = versioned.parent / "clone"
    git("clone", "-q", "--depth", "1", f"file://{versioned}", str(clone))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        with pytest.raises(UserError, match="git fetch --unshallow"):
            commits.of_versions([absent])


def test_data_that_was_not_committed_when_a_version_learned_from_it_stays(versioned):
    """Its commit names another data.dvc; its tag names the right one."""
    commit("uncommitted")
    md5 = Path("data.dvc").read_text(encoding="utf-8").split("md5: ")[1].split()[0]
    git("reset", "-q", "--hard", "HEAD~1")
    dirty = VersionNeeds("version 1", git("rev-parse", "HEAD"), md5, (), is_ours=True)
    with dvc_objects.locked() as cache:
        (group,) = objects.plan(cache, [need("version 1", dirty.commit)], without_versions=False).unused
        assert [item.what for item in group.items if item.what == "decisions.csv"] == ["decisions.csv"]
        assert objects.plan(cache, [dirty], without_versions=False).count == 0
        assert objects.plan(cache, [], without_versions=True).count == 2
        shutil.rmtree(Path(".dvc/cache/files/md5") / md5[:2])
        assert f"{md5} of version 1" in objects.plan(cache, [dirty], without_versions=False).problem


def test_while_something_is_at_work_nothing_is_listed(versioned, params, monkeypatch):
    """A training that runs by itself; a `dvc` command, with its lock; and one that runs a stage, without it."""
    record = begin()
    with pytest.raises(UserError, match=f"the run {record.id} .train. is at work"):
        collection.collect(params, delete=True)
    record.finish()
    with dvc_objects.locked():
        monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0)
        with pytest.raises(UserError, match="holds DVC's lock"):
            collection.collect(params, delete=True)
    notes = '{"write": {"build/head": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}'
    Path(".dvc/tmp/rwlock").write_text(notes, encoding="utf-8")
    with pytest.raises(UserError, match=r"`dvc repro` \(process 1\) is at work"):
        collection.collect(params, delete=True)
    Path(".dvc/tmp/rwlock").write_text(notes.replace("1,", "99999999,"), encoding="utf-8")
    assert collection.collect(params, delete=False)


def test_without_an_answer_of_mlflow_dvcs_cache_stays(versioned, nsfw, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    Path(".cache/tune").mkdir(parents=True)
    subset = Path(".cache/tune/subset-1.tfrecord")
    subset.write_text("rows", encoding="utf-8")
    code, out, _ = nsfw("data", "gc", "--delete")
    assert code == 1
    stopped = [line for line in out.splitlines() if "STOPPED" in line]
    assert len(stopped) == 2
    assert "does not answer" in stopped[0]
    assert "what registered versions need is not known" in stopped[1]
    assert not subset.exists()
    assert nsfw("data", "gc", "--delete", "--dry-run")[0] == 2


def test_bytes_for_people():
    assert [amount(size) for size in (0, 999, 1000, 1_540_000)] == ["0 bytes", "999 bytes", "1.0 kB", "1.5 MB"]
