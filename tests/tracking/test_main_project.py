"""Which store a temporary experiment of DVC's writes to."""

from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.registry import model_versions
from pipeline.tracking import main_project, server, store_address


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A project, and the folder in it that DVC runs a temporary experiment in: the working directory."""
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "project"
    folder = project / ".dvc/tmp/exps/tmpab12"
    (folder / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return project, folder


@pytest.mark.parametrize("uri", [None, "sqlite:///mlflow.db"])
def test_it_is_the_projects_own(experiment, monkeypatch, uri):
    project, _ = experiment
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert main_project.root() == project
    assert main_project.is_temporary()
    assert store_address.tracking_uri() == f"sqlite:///{project}/mlflow.db"
    assert main_project.persistent_path(paths.RUNS) == project / ".cache/runs"
    monkeypatch.chdir(project)
    assert not main_project.is_temporary()
    assert store_address.tracking_uri() == f"sqlite:///{project}/mlflow.db"
    assert main_project.persistent_path(paths.RUNS) == paths.RUNS


def test_a_project_in_a_folder_of_its_repository(experiment, monkeypatch):
    project, folder = experiment
    (folder / "models").mkdir()
    monkeypatch.chdir(folder / "models")
    assert main_project.root() == project


def test_dvc_says_so_where_its_temporary_folder_is_a_link(tmp_path, monkeypatch):
    project, disk = tmp_path / "project", tmp_path / "disk"
    (disk / "exps/tmpab12").mkdir(parents=True)
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc/tmp").symlink_to(disk)
    monkeypatch.chdir(disk / "exps/tmpab12")
    assert not main_project.is_temporary()
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert main_project.root() == project


def test_dvc_root_of_another_project_counts_for_nothing(tmp_path, monkeypatch):
    (tmp_path / "other/.dvc").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    assert main_project.root() == tmp_path / "here"


def test_all_take_turns_at_one_lock(experiment, monkeypatch):
    project, _ = experiment
    with server.session():
        (lock,) = (project / ".cache").glob("mlflow-*.lock")
    monkeypatch.chdir(project)
    with server.session():
        assert list(project.glob(".cache/mlflow-*.lock")) == [lock]


def test_other_servers_stay(experiment, monkeypatch):
    for uri in ("http://127.0.0.1:5000", "postgresql://h/db", "sqlite:////data/mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert store_address.tracking_uri() == uri
    assert model_versions._EXPERIMENT
