"""A store that was moved or copied with its project, on a real store of MLflow's."""

import os
import shutil
import sqlite3
from pathlib import Path

import mlflow
import pytest

from pipeline.tracking import server, store_relocation
from pipeline.tracking.unreachable import Unreachable


def fill() -> str:
    """Make a run with an artifact, a logged model and a version of it; return the run's id."""
    with server.session() as client:
        run = client.create_run(server.experiment_id(client)).info.run_id
        client.log_text(run, "hello", "note.txt")
        model = client.create_logged_model(server.experiment_id(client), name="m", source_run_id=run)
        client.create_registered_model("nsfw")
        client.create_model_version("nsfw", f"models:/{model.model_id}", run_id=run, model_id=model.model_id)
    return run


def go(monkeypatch, folder: Path) -> None:
    """Change the folder as a new process would: MLflow caches its store and the artifact locations of runs."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)


def mentions(database: Path, folder: Path) -> list[str]:
    """Each table and column that holds the folder's path."""
    with sqlite3.connect(database) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [
            (table, column)
            for table in tables
            for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
        ]
        needle = f"{folder}/"
        return [
            f"{table}.{column}"
            for table, column in columns
            if connection.execute(
                f'SELECT count(*) FROM "{table}" WHERE instr(CAST("{column}" AS TEXT) || \'/\', ?)',  # noqa: S608
                (needle,),
            ).fetchone()[0]
        ]


def digests(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["renamed", "with a space", "bei München"])
def test_a_renamed_project_finds_its_artifacts(client, project, monkeypatch, caplog, name):
    run = fill()
    moved = project.rename(project.with_name(name))
    go(monkeypatch, moved)
    with server.session() as moved_client:
        assert Path(moved_client.download_artifacts(run, "note.txt")).read_text(encoding="utf-8") == "hello"
    assert mentions(moved / "mlflow.db", project) == []
    assert caplog.text.count("was moved or copied here from") == 1
    with server.session():
        pass
    assert caplog.text.count("was moved or copied here from") == 1
    # A client that knows nothing of us, from anywhere.
    go(monkeypatch, "/")
    plain = mlflow.MlflowClient(f"sqlite:///{moved}/mlflow.db")
    assert Path(plain.download_artifacts(run, "note.txt")).is_file()
    assert plain.get_model_version_download_uri("nsfw", "1").startswith((moved / "mlartifacts").as_uri())


def test_a_copy_writes_nothing_into_the_original(client, project, monkeypatch):
    run = fill()
    copy = project.with_name("copy")
    shutil.copytree(project, copy)
    before = digests(project)
    go(monkeypatch, copy)
    with server.session() as moved_client:
        moved_client.log_text(run, "other", "note.txt")
        moved_client.log_text(moved_client.create_run(server.experiment_id(moved_client)).info.run_id, "new", "new.txt")
        moved_client.log_text(moved_client.create_run("0").info.run_id, "in MLflow's own experiment", "new.txt")
    assert digests(project) == before
    assert len(list((copy / "mlartifacts").glob("*/artifacts/new.txt"))) == 1
    go(monkeypatch, project)
    with server.session() as moved_client:
        assert Path(moved_client.download_artifacts(run, "note.txt")).read_text(encoding="utf-8") == "hello"
    assert mentions(project / "mlflow.db", copy) == []


def test_a_copy_without_the_artifacts_does_not_write_into_the_original_either(client, project, monkeypatch):
    fill()
    copy = project.with_name("copy")
    copy.mkdir()
    shutil.copyfile(project / "mlflow.db", copy / "mlflow.db")
    before = digests(project)
    go(monkeypatch, copy)
    with server.session() as moved_client:
        moved_client.log_text(moved_client.create_run(server.experiment_id(moved_client)).info.run_id, "new", "new.txt")
    assert digests(project) == before


def without_folder(database: Path) -> None:
    """Make the store like one from before experiments had a tag with their folder."""
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM experiment_tags WHERE key = ?", (store_relocation.ROOT_TAG,))


def test_an_older_store_is_recognised_by_where_its_runs_lie(client, project, monkeypatch):
    run = fill()
    without_folder(project / "mlflow.db")
    copy = project.with_name("copy")
    shutil.copytree(project, copy)
    before = digests(project)
    assert store_relocation.relocate(project / "mlflow.db") is None
    go(monkeypatch, copy)
    with server.session() as moved_client:
        moved_client.log_text(run, "other", "note.txt")
        assert moved_client.get_experiment_by_name("nsfw").tags[store_relocation.ROOT_TAG] == str(copy)
    assert digests(project) == before
    assert mentions(copy / "mlflow.db", project) == []


def test_artifacts_that_were_put_elsewhere_on_purpose_stay_there(client, project, tmp_path):
    disk = tmp_path / "disk" / store_relocation.ARTIFACTS
    experiment = client.create_experiment(
        "big", artifact_location=disk.as_uri(), tags={"mlflow.experimentKind": "custom_model_development"}
    )
    client.log_text(client.create_run(experiment).info.run_id, "hello", "note.txt")
    before = (project / "mlflow.db").read_bytes()
    assert store_relocation.relocate(project / "mlflow.db") is None
    assert (project / "mlflow.db").read_bytes() == before


def test_a_folder_whose_name_begins_alike_is_another(client, project, monkeypatch):
    fill()
    other = f"{project}-two/models/x"
    with sqlite3.connect(project / "mlflow.db") as connection:
        connection.execute("UPDATE model_versions SET source = ?", (other,))
    moved = project.rename(project.with_name("moved"))
    store_relocation.relocate(moved / "mlflow.db")
    with sqlite3.connect(moved / "mlflow.db") as connection:
        assert connection.execute("SELECT source FROM model_versions").fetchone() == (other,)


def test_cut_short_it_has_changed_nothing(client, project, monkeypatch):
    fill()
    moved = project.rename(project.with_name("moved"))
    with sqlite3.connect(moved / "mlflow.db") as connection:
        connection.execute("CREATE TRIGGER stop BEFORE UPDATE ON model_versions BEGIN SELECT RAISE(ABORT, 'no'); END")
    before = (moved / "mlflow.db").read_bytes()
    go(monkeypatch, moved)
    with pytest.raises(Unreachable, match="was moved or copied, and cannot be told"), server.session():
        pass
    assert (moved / "mlflow.db").read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"no database" * 100])
def test_what_is_no_store_is_left_to_mlflow(tmp_path, content):
    path = tmp_path / "mlflow.db"
    if content is not None:
        path.write_bytes(content)
    assert store_relocation.relocate(path) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_may_not_be_changed_is_named(client, project, monkeypatch):
    fill()
    moved = project.rename(project.with_name("moved"))
    (moved / "mlflow.db").chmod(0o444)
    go(monkeypatch, moved)
    with pytest.raises(Unreachable, match="cannot be told where"), server.session():
        pass
