"""`nsfw doctor` in a real project: what is sound is ok, and each thing that is broken is named with its remedy."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from pipeline.core import paths
from pipeline.diagnosis import check, doctor, machine, project_state, services
from pipeline.params.root import load_params
from tests.support.mlflow_store import mlflow_server, template
from tests.support.pictures import scrape

__all__ = ["mlflow_server", "template"]  # fixtures


@pytest.fixture
def made(project, monkeypatch, nsfw):
    """A project with git, DVC, a batch of pictures, and a remote that has it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HOME", str(project.parent))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    shutil.copyfile(Path(__file__).parents[2] / "uv.lock", "uv.lock")
    Path(".gitignore").write_text("/data\n/.cache\n/mlflow.db*\n/mlartifacts\n", encoding="utf-8")
    run("git", "init", "-q")
    for key, value in (("user.name", "t"), ("user.email", "t@example.org")):
        run("git", "config", key, value)
    run("dvc", "init", "-q")
    run("dvc", "remote", "add", "-q", "-d", "storage", str(project.parent / "remote"))
    scrape(project.parent / "raw", {f"neutral/{number}.jpg": f"{number}".encode() for number in range(5)})
    assert nsfw("ingest", "folder", project.parent / "raw", "--source", "web")[0] == 0
    run("dvc", "push", "-q")
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "x")
    return project


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def by_name() -> dict[str, check.Check]:
    return {one.name: one for one in doctor.examine()}


@pytest.mark.slow
def test_a_sound_project_passes_and_each_fault_is_named_with_its_remedy(made, nsfw):
    code, out, _ = nsfw("doctor", "--json")
    statuses = {one["name"]: one["status"] for one in json.loads(out)["checks"]}
    assert (code, set(statuses.values())) == (0, {"ok"}), out
    assert {"packages", "git", "data", "disk", "memory", "gpu", "dvc remote", "mlflow", "search storage"} <= set(
        statuses
    )
    assert "none of" in nsfw("doctor")[1]

    shutil.rmtree(made.parent / "remote")
    (made / "more.txt").write_text("x", encoding="utf-8")
    (paths.SIGHTINGS / next(paths.SIGHTINGS.glob("*.parquet")).name).rename(made.parent / "gone.parquet")
    code, out, _ = nsfw("doctor")
    lines = {line.split()[1]: line for line in out.splitlines() if line.startswith(("ok", "warning", "failed"))}
    assert code == 1
    assert lines["data"].startswith("failed")
    assert lines["dvc"].startswith("warning")
    assert "`dvc push` copies it there" in out
    assert "not committed" in lines["git"]

    shutil.rmtree("data")
    assert by_name()["data"].remedy == "dvc pull data.dvc"
    text = paths.PARAMS.read_text(encoding="utf-8")
    paths.PARAMS.write_text(text.replace("seed:", "sed:"), encoding="utf-8")
    code, out, _ = nsfw("doctor")
    assert (code, "failed  params.yaml" in out, "git diff params.yaml" in out) == (1, True, True)
    assert "Traceback" not in out


def test_other_packages_than_the_locks_are_named(project):
    assert machine.packages().status == check.WARNING
    Path("uv.lock").write_text('[[package]]\nname = "psutil"\nversion = "0.1"\n', encoding="utf-8")
    other = machine.packages()
    assert (other.status, other.remedy) == (check.FAILED, "make install")
    assert f"psutil {psutil.__version__} instead of 0.1" in other.text


def test_too_little_disk_or_memory_is_said_with_both_numbers(project, monkeypatch):
    params = load_params()
    assert machine.disk(params, 10, 1_000).status == check.OK
    full = machine.disk(params, 10**9, 0)
    assert (full.status, "a rebuild of 1,000,000,000 pictures may need" in full.text) == (check.FAILED, True)
    assert machine.memory(params).status in {check.OK, check.WARNING}
    catalog = params.catalog.model_copy(update={"memory_mb": 10**6})
    little = machine.memory(params.model_copy(update={"catalog": catalog}))
    assert (little.status, "lower catalog.memory_mb" in little.remedy) == (check.WARNING, True)


def test_a_gpu_that_tensorflow_does_not_see_fails(project, tmp_path, monkeypatch):
    assert "none" in machine.gpu().text
    (tmp_path / "gpus" / "0000:00:1e.0").mkdir(parents=True)
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path / "gpus")
    assert (machine.gpu().status, machine.gpu().remedy) == (check.FAILED, "make install EXTRAS=gpu")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_fails(project):
    project.chmod(0o500)
    assert check.attempt("x", lambda: machine.writable(project), "chmod").status == check.FAILED


def test_without_git_or_identity_it_says_how(project, monkeypatch):
    assert "git init" in project_state.repository().remedy
    run("git", "init", "-q")
    run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "--allow-empty", "-m", "x")
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    assert "git config --global user.name" in project_state.repository().remedy


def test_a_server_is_asked_for_its_version_and_time_and_written_to(project, mlflow_server):
    mlflow_server.start()
    assert services.mlflow() == check.ok("mlflow", f"{mlflow_server.uri} answers and can be written to")
    version, clock = services.mlflow_server()
    assert (version.status, clock.status) == (check.OK, check.OK)
    assert services._version("1.2.3").status == check.WARNING
    assert services._clock("Wed, 21 Oct 2015 07:28:00 GMT")[0].status == check.WARNING
    assert services._clock("yesterday") == []


def test_a_server_that_does_not_answer_fails_once(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    dead = services.mlflow()
    assert (dead.status, "does not answer" in dead.text, "secret" in dead.text) == (check.FAILED, True, False)
    assert services.mlflow_server() == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////nowhere/tune.db", "/nowhere is no folder"),
        ("postgresql+psycopg://u:secret@127.0.0.1:9/x", "does not answer"),
        ("nonsense", "is no database URL"),
    ],
)
def test_a_storage_that_cannot_be_used_is_named(project, url, words):
    params = load_params()
    tune = params.tune.model_copy(update={"storage": url})
    storage = services.search_storage(params.model_copy(update={"tune": tune}))
    assert (storage.status, words in storage.text, "secret" in storage.text) == (check.FAILED, True, False)
