import json
import shlex
import subprocess

import pytest

from pipeline.core.errors import UserError
from pipeline.promotion import tracing
from pipeline.promotion.tracing import trace

pytestmark = pytest.mark.untraced

COMMIT = "c" * 40
TAGS = {"nsfw.git_commit": COMMIT, "nsfw.git_dirty": "false", "nsfw.data_md5": "0123.dir", "nsfw.record_id": "r1"}
FACTS = {
    "trained_at": "2026-01-01T00:00:00+00:00",
    "params": {"seed": 1, "backbone.name": "mobilenet_v2"},
    "inputs": [{"name": "build/splits.parquet", "digest": "d" * 64}, {"name": "build/packed", "digest": "e" * 64}],
}


@pytest.fixture
def made(makes, client):
    """Make a version with these tags and facts; return its number."""

    def make(facts=None, with_evidence=True, **tags):
        version = makes.version({"porn": 10}, facts_more=FACTS | (facts or {}), with_evidence=with_evidence)
        for key, value in (TAGS | tags).items():
            client.set_model_version_tag("nsfw", str(version), key, value)
        return str(version)

    return make


def git(*arguments):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_what_made_a_version_and_how_to_make_it_again(made, params):
    report = trace(params, made())
    assert (report["commit"], report["dirty"], report["data_md5"], report["record_id"]) == (
        COMMIT,
        False,
        "0123.dir",
        "r1",
    )
    assert report["params"] == {"backbone.name": "mobilenet_v2", "seed": 1}
    assert report["figures"]["unsafe recall"] == 0.9
    assert report["doubt"] == ""
    assert f"git checkout {COMMIT}" in report["commands"]
    assert "dvc repro evaluate" in report["commands"]
    assert f"sha256sum build/splits.parquet   # {'d' * 64}" in report["commands"]
    assert not any("build/packed" in line for line in report["commands"])  # a folder has no sha256sum
    json.dumps(report, allow_nan=False)
    text = "\n".join(tracing.lines(report))
    for part in ("nsfw version 1", COMMIT, "0123.dir", "unsafe recall 0.9", "seed=1", "rebuild:"):
        assert part in text


def test_by_alias_and_no_such_version(made, params):
    made()
    assert trace(params, "challenger")["version"] == 1
    with pytest.raises(UserError, match="no version 5"):
        trace(params, "5")


def test_uncommitted_changes_come_from_the_run(made, params):
    report = trace(params, made(**{"nsfw.git_dirty": "true"}))
    at = report["commands"].index(f"git checkout {COMMIT}")
    assert report["commands"][at + 2].startswith(f"mlflow artifacts download --run-id {report['run_id']}")
    assert report["commands"][at + 3] == "git apply ../code.diff"
    assert "with uncommitted changes" in "\n".join(tracing.lines(report))


def test_changes_that_were_committed_since_are_checked_out(made, params, project):
    git("init", "-q")
    (project / "file").write_text("trained from this")
    git("add", "file")
    git("commit", "-qm", "x")
    facts = {"nsfw.git_dirty": "true", "nsfw.git_tree": git("rev-parse", "HEAD^{tree}")}
    version = made(**facts)
    head = git("rev-parse", "HEAD")
    report = trace(params, version)
    assert report["committed_as"] == head
    assert f"git checkout {head}" in report["commands"]
    assert not any("code.diff" in line for line in report["commands"])
    unseen = made(facts={"untracked": ["new.py"]}, **facts)  # a tree does not hold what git does not know
    assert trace(params, unseen)["committed_as"] is None


def test_imported_or_without_git_there_is_nothing_to_check_out(made, params, client):
    imported = trace(params, made(facts={"imported": True}))
    assert len(imported["commands"]) == 1
    assert "nsfw import-model" in imported["commands"][0]
    bare = made()
    client.delete_model_version_tag("nsfw", bare, "nsfw.git_commit")
    assert trace(params, bare)["commands"] == [
        "# no commit is known of it (trained outside git?): there is none to check out"
    ]


def test_without_evidence_the_doubt_and_the_runs_own_params_are_shown(made, params, client):
    version = made(with_evidence=False)
    client.log_param(client.get_model_version("nsfw", version).run_id, "seed", 7)
    report = trace(params, version)
    assert "registered past the pipeline" in report["doubt"]
    assert report["params"] == {"seed": "7"}
    assert report["figures"] == {}
    assert "registered past the pipeline" in "\n".join(tracing.lines(report))


def test_a_version_without_a_run(params, client):
    client.create_registered_model("nsfw")
    client.create_model_version("nsfw", "s3://bucket/model")
    report = trace(params, "1")
    assert (report["run_name"], report["commit"]) == (None, None)
    assert tracing.lines(report)


def test_a_run_that_was_purged(params, client):
    client.create_registered_model("nsfw")
    client.create_model_version("nsfw", "s3://bucket/model", run_id="f" * 32)
    assert trace(params, "1")["run_name"] is None


def test_what_stands_in_tags_is_quoted_for_the_shell(made, params):
    """The commands are there to be pasted."""
    evil = "x; touch owned #\n touch owned"
    facts = {"inputs": [{"name": "a.csv; touch owned", "digest": "x\ntouch owned"}]}
    report = trace(params, made(facts=facts, **{"nsfw.git_commit": evil, "nsfw.data_md5": "x\ntouch owned"}))
    for command in report["commands"]:
        words = shlex.split(command, comments=True)
        assert "touch" not in words
        assert ";" not in words
    assert all("\n" not in line or shlex.quote(evil) in line for line in report["commands"])


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://me:secret@example.org/team/repo.git", "https://example.org/team/repo.git"),
        ("git@example.org:team/repo.git", "git@example.org:team/repo.git"),
        ("ssh://git@example.org/repo.git", "ssh://git@example.org/repo.git"),
        ("/srv/my repos/repo.git", "'/srv/my repos/repo.git'"),
    ],
)
def test_where_to_clone_from_without_a_password(project, remote, shown):
    git("init", "-q")
    git("remote", "add", "origin", remote)
    report = {"imported": False, "commit": COMMIT, "committed_as": None, "dirty": False, "data_md5": "x", "inputs": {}}
    report["model_sha256"] = "x"
    assert tracing.commands(report)[0] == f"git clone {shown} rebuilt && cd rebuilt"
