"""MLflow's bin and lost folders: on rows, and on a real store."""

import os
import time
from pathlib import Path

import mlflow
import pytest

from pipeline.garbage import artifacts
from pipeline.tracking import server, store_contents
from pipeline.tracking.store_contents import Contents, StoredModel, StoredRun, StoredVersion

NOW = 1_000_000.0


def of(number: int) -> str:
    return f"{number:032x}"


def run(number: int, *, deleted: bool = False, experiment: str = "1", here: bool = True) -> StoredRun:
    return StoredRun(of(number), experiment, deleted, Path(f"mlartifacts/{of(number)}/artifacts") if here else None)


def model(number: int, *, of_run: int, complete: bool = True, age: float = 0.0, deleted: bool = False) -> StoredModel:
    return StoredModel(f"m-{of(number)}", "1", deleted, Path("mlartifacts/models"), of(of_run), complete, NOW - age)


def version(*names: str) -> StoredVersion:
    return StoredVersion("nsfw", 1, names)


def chosen(runs=(), models=(), versions=(), experiments=()) -> tuple[list[int], list[int], list[str], str]:
    bin_ = artifacts.choose(Contents(tuple(runs), tuple(models), tuple(versions), tuple(experiments)), NOW)
    numbers = [[int(each[-32:], 16) for each in ids] for ids in (bin_.runs, bin_.models)]
    return *numbers, list(bin_.experiments), bin_.problem


def test_deleted_runs_go_but_none_that_a_version_or_its_evidence_names():
    runs = [run(number, deleted=number > 1) for number in range(1, 6)]
    named = [version(of(2)), version(f"runs:/{of(3)}/model"), version("models:/nsfw/1", of(4))]
    assert chosen(runs, versions=named) == ([5], [], [], "")


def test_logged_models_go_with_their_run_or_when_their_upload_died_but_none_of_a_version():
    runs = [run(1), run(2, deleted=True), run(3, deleted=True)]
    models = [
        model(1, of_run=1),
        model(2, of_run=2),
        model(3, of_run=3),
        model(4, of_run=1, complete=False, age=2 * artifacts.DAY),
        model(5, of_run=1, complete=False, age=60),
        model(6, of_run=9),
        model(7, of_run=1, deleted=True),
    ]
    named = [version(f"models:/m-{of(3)}")]
    assert chosen(runs, models, named) == ([2], [2, 4, 6, 7], [], "")  # and run 3 stays: the version's model is its


def test_a_deleted_experiment_goes_unless_something_in_it_is_needed():
    runs = [run(1, deleted=True, experiment="2"), run(2, deleted=True, experiment="3")]
    assert chosen(runs, versions=[version(of(1))], experiments=["2", "3"]) == ([2], [], ["3"], "")


def test_what_mlflow_gc_could_not_spare_stops_it_and_is_named():
    """Without an id it takes everything of a kind."""
    *_, problem = chosen([run(1, deleted=True)], [model(1, of_run=1), model(2, of_run=2)], [version(of(1))])
    assert f"run {of(1)}" in problem
    *_, problem = chosen([run(1, deleted=True)], versions=[version(of(1))])
    assert problem == ""  # nothing is to be deleted
    elsewhere = [run(1, deleted=True, here=False), run(2, deleted=True)]
    assert chosen(elsewhere)[0] == [2]


def test_folders_of_nothing_known_are_lost_and_others_are_not_touched(tmp_path):
    names = [of(1), of(2), f"models/m-{of(1)}", f"models/m-{of(2)}", "models/notes", "traces", "backup"]
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    contents = Contents((run(1),), (model(1, of_run=1),), (), ())
    listed = [*sorted(tmp_path.iterdir()), *sorted((tmp_path / "models").iterdir())]
    lost, unknown = artifacts.orphans(listed, contents)
    assert [path.relative_to(tmp_path).as_posix() for path in lost] == [of(2), f"models/m-{of(2)}"]
    assert [path.relative_to(tmp_path).as_posix() for path in unknown] == ["backup", "models/notes"]
    needed = Contents((), (), (version(of(2)),), ())
    assert tmp_path / of(2) not in artifacts.orphans(listed, needed)[0]  # its files lie there, though its run is gone


@pytest.fixture
def filled(client, store):
    """A store with a version, a version that was deleted, and what died or was deleted beside them, by name."""
    mlflow.set_tracking_uri(f"sqlite:///{store}")  # a version's model is looked up by the process' own address
    experiment = server.experiment_id(client)
    ids = {}
    client.create_registered_model("nsfw")
    for name in ("registered", "unregistered", "died"):
        ids[name] = client.create_run(experiment).info.run_id
        client.log_text(ids[name], "evidence", "evidence/file.txt")
        logged = client.create_logged_model(experiment, source_run_id=ids[name])
        ids[f"{name} model"] = logged.model_id
        folder = store_contents.local_path(logged.artifact_location)
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text("model", encoding="utf-8")
        if name != "died":
            client.finalize_logged_model(logged.model_id, "READY")
            client.create_model_version("nsfw", f"models:/{logged.model_id}", run_id=ids[name])
    client.delete_model_version("nsfw", "2")
    for name in ("registered", "unregistered"):
        client.delete_run(ids[name])
    other = client.create_experiment("other", artifact_location=(store.parent / "mlartifacts").as_uri())
    ids["of other"] = client.create_run(other).info.run_id
    client.log_text(ids["of other"], "x", "file.txt")
    client.delete_experiment(other)
    return ids | {"other": other}


def test_on_a_real_store(filled, client, store):
    root = store.parent / "mlartifacts"
    upload = root / filled["died"] / "artifacts" / ".artifact.uploading.abc"
    upload.write_text("half", encoding="utf-8")
    os.utime(upload, (NOW, NOW))
    later = time.time() + 2 * artifacts.DAY
    before = sorted(root.rglob("*"))
    part = artifacts.plan(store, root, later)
    going = {group.kind: {item.name for item in group.items} for group in part.unused}
    assert part.problem == ""
    assert going == {
        "runs": {filled["unregistered"], filled["of other"]},
        "logged models": {filled["unregistered model"], filled["died model"]},
        "experiments": {filled["other"]},
        "uploads": {upload.relative_to(store.parent).as_posix()},
    }
    assert part.size == len("evidence") + len("x") + 2 * len("model") + len("half")
    assert sorted(root.rglob("*")) == before

    artifacts.delete(client, store, root, later)
    assert artifacts.plan(store, root, later).count == 0
    left = {path.name for path in (*root.iterdir(), *(root / "models").iterdir())}
    assert left == {"models", filled["registered"], filled["registered model"], filled["died"]}
    client.restore_run(filled["registered"])
    assert client.get_model_version("nsfw", "1").source == f"models:/{filled['registered model']}"
    assert client.download_artifacts(filled["registered"], "evidence/file.txt")
    assert client.get_experiment_by_name("other") is None
