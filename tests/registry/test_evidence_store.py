import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core import paths, tables
from pipeline.core.files import write_json
from pipeline.evidence.document import DOCUMENT, FACTS, PREDICTIONS
from pipeline.registry import evidence_store
from pipeline.registry.evidence_store import EVALUATION_TAG, EVIDENCE_TAG, EvidenceError
from pipeline.tracking import server
from pipeline.tracking.lineage import digest
from tests.support.evidence_documents import complete

MODEL, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def folder(project):
    """A folder of evidence, as `register` gathers it."""
    root = project / "gathered"
    (root / "plots").mkdir(parents=True)
    test = {"digest": "c" * 64}
    document = {"model_sha256": MODEL, "labels": ["x", "y"], "unsafe": ["y"], "size": 32, "test": test}
    write_json(complete(document), root / DOCUMENT)
    write_json({"model_sha256": MODEL, "size_mb": 1.0}, root / FACTS)
    frame = pd.DataFrame({"sha256": ["d" * 64], "split": ["test"], "label": ["x"], "p_x": [0.75], "p_y": [0.25]})
    tables.write_parquet(frame, root / PREDICTIONS)
    (root / "plots" / "pr.png").write_bytes(b"picture")
    return root


def change(path, **more):
    """Change keys of a JSON file; None removes one."""
    document = json.loads(path.read_text()) | more
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


@pytest.fixture
def version(client):
    """A version of `nsfw` of that model, without evidence."""
    run = client.create_run(server.experiment_id(client))
    client.create_registered_model("nsfw")
    source = f"runs:/{run.info.run_id}/model"
    registered_version = client.create_model_version("nsfw", source, run.info.run_id, tags={"nsfw.model_sha256": MODEL})
    return int(registered_version.version)


def stored(client, version):
    """Where the version's evidence lies on disk."""
    registered_version = client.get_model_version("nsfw", str(version))
    root = client.get_run(registered_version.run_id).info.artifact_uri.removeprefix("file://")
    return Path(root) / "evidence" / registered_version.tags[EVIDENCE_TAG][:12]


def fetch(client, version, sha256=None):
    return evidence_store.fetch(client, "nsfw", version, sha256)


def test_what_is_attached_is_fetched_as_it_was(client, version, folder):
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    evidence = fetch(client, version)
    assert (evidence.version, evidence.sha256, evidence.model_sha256) == (
        version,
        digest(folder),
        MODEL,
    )
    assert evidence.document.to_json() == json.loads((folder / DOCUMENT).read_text())
    assert evidence.facts["size_mb"] == 1.0
    pd.testing.assert_frame_equal(evidence.predictions, pd.read_parquet(folder / PREDICTIONS))


def test_it_is_kept_and_comes_from_the_cache_the_next_time(client, version, folder):
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    first = fetch(client, version)
    shutil.rmtree(stored(client, version))
    assert fetch(client, version).document == first.document


def test_a_cache_that_was_changed_is_fetched_anew(client, version, folder):
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    sound = fetch(client, version)
    cached = paths.EVIDENCE_CACHE / sound.sha256
    change(cached / FACTS, size_mb=0.1)
    assert fetch(client, version).facts == sound.facts
    (cached / PREDICTIONS).unlink()
    assert len(fetch(client, version).predictions) == 1


def test_another_process_that_fetched_it_first_is_no_trouble(client, version, folder, monkeypatch):
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    download = type(client).download_artifacts

    def slow(self, *arguments):
        downloaded = download(self, *arguments)
        shutil.copytree(downloaded, paths.EVIDENCE_CACHE / digest(folder))
        return downloaded

    monkeypatch.setattr(type(client), "download_artifacts", slow)
    assert fetch(client, version).sha256 == digest(folder)
    assert [path.name for path in paths.EVIDENCE_CACHE.iterdir()] == [digest(folder)]


def test_the_same_evaluation_twice_is_one_and_another_replaces_it(client, version, folder):
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    first = digest(folder)
    change(folder / FACTS, size_mb=2.0)  # speed is measured anew each time
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    assert fetch(client, version).sha256 == first
    assert len(list(stored(client, version).parent.iterdir())) == 1
    evidence_store.attach(client, "nsfw", version, folder, "e2")
    assert fetch(client, version).facts["size_mb"] == 2.0
    assert fetch(client, version, first).facts["size_mb"] == 1.0  # what it was promoted with stays


@pytest.mark.parametrize("step", [0, 1])
def test_a_later_evaluation_that_was_cut_short_is_attached_by_the_next_try(client, version, folder, monkeypatch, step):
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    change(folder / FACTS, size_mb=2.0)
    set_tag, calls = type(client).set_model_version_tag, []

    def cut(self, *arguments):
        calls.append(arguments)
        if len(calls) > step:
            raise ConnectionError("cut")
        set_tag(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(type(client), "set_model_version_tag", cut)
        with pytest.raises(ConnectionError):
            evidence_store.attach(client, "nsfw", version, folder, "e2")
    assert fetch(client, version).facts["size_mb"] in {1.0, 2.0}
    evidence_store.attach(client, "nsfw", version, folder, "e2")
    assert fetch(client, version).facts["size_mb"] == 2.0
    assert client.get_model_version("nsfw", str(version)).tags[EVALUATION_TAG] == "e2"


def test_none_and_a_version_that_is_gone(client, version):
    with pytest.raises(EvidenceError, match=r"no evidence: it was registered past the pipeline.*nsfw import-model"):
        fetch(client, version)
    client.delete_model_version("nsfw", str(version))
    with pytest.raises(EvidenceError, match="has been deleted from the registry"):
        fetch(client, version)


@pytest.mark.parametrize("what", ["changed", "added", "removed", "plots"])
def test_artifacts_that_were_changed_afterwards(client, version, folder, what):
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    stored_folder = stored(client, version)
    if what == "changed":
        change(stored_folder / DOCUMENT, summary={"macro_recall": 1.0})
    elif what == "added":
        (stored_folder / "more.txt").write_text("x")
    elif what == "removed":
        (stored_folder / PREDICTIONS).unlink()
    else:
        (stored_folder / "plots" / "pr.png").write_bytes(b"nicer")
    with pytest.raises(EvidenceError, match="has been changed since it was registered"):
        fetch(client, version)
    assert list(paths.EVIDENCE_CACHE.iterdir()) == []


def test_artifacts_that_are_gone_and_a_digest_of_something_else(client, version, folder):
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    with pytest.raises(EvidenceError, match="cannot be fetched"):
        fetch(client, version, OTHER)
    shutil.rmtree(stored(client, version))
    with pytest.raises(EvidenceError, match="cannot be fetched"):
        fetch(client, version)


def test_evidence_of_another_model(client, version, folder):
    change(folder / DOCUMENT, model_sha256=OTHER)
    change(folder / FACTS, model_sha256=OTHER)
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    with pytest.raises(EvidenceError, match=r"its evidence is about another model \(bbbbbbbbbbbb"):
        fetch(client, version)


def test_a_model_tag_that_was_changed(client, version, folder):
    evidence_store.attach(client, "nsfw", version, folder, "e1")
    client.set_model_version_tag("nsfw", str(version), "nsfw.model_sha256", OTHER)
    with pytest.raises(EvidenceError, match="about another model"):
        fetch(client, version)


@pytest.mark.parametrize("digest_tag", ["../../precious", "/{root}/precious", "../" * 9, "x", "A" * 64])
def test_a_digest_that_is_a_path_touches_nothing(client, version, folder, project, digest_tag):
    """It is a tag: whoever writes to the registry would choose a folder of ours to be deleted."""
    precious = project / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    digest_tag = digest_tag.replace("/{root}", str(project))
    client.set_model_version_tag("nsfw", str(version), EVIDENCE_TAG, digest_tag)
    with pytest.raises(EvidenceError, match="has no digest"):
        fetch(client, version)
    with pytest.raises(EvidenceError, match="has no digest"):
        fetch(client, version, digest_tag)
    assert (precious / "file").read_text() == "x"


def damage(folder, how):
    if how in {DOCUMENT, FACTS, PREDICTIONS}:
        (folder / how).unlink()
    elif how == "json":
        (folder / DOCUMENT).write_text('{"model_sha256": ')
    elif how == "list":
        (folder / FACTS).write_text("[]")
    elif how == "parquet":
        (folder / PREDICTIONS).write_bytes(b"PAR1 rubbish PAR1")
    elif how == "columns":
        tables.write_parquet(pd.DataFrame({"sha256": ["d" * 64]}), folder / PREDICTIONS)
    elif how == "two models":
        change(folder / FACTS, model_sha256=OTHER)
    elif how == "digest":
        change(folder / DOCUMENT, test={"digest": "../../x"})
    else:
        change(folder / DOCUMENT, **{how: None})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (DOCUMENT, "cannot be read"),
        (FACTS, "cannot be read"),
        (PREDICTIONS, "cannot be read"),
        ("json", "cannot be read"),
        ("list", "cannot be read"),
        ("parquet", "cannot be read"),
        ("columns", "without label, p_x, p_y, split"),
        ("two models", "of different models"),
        ("digest", "no digest: '../../x'"),
        ("model_sha256", "cannot be read"),
        ("labels", "cannot be read"),
        ("calibration", "without calibration: another version of this program wrote it"),
        ("leaks", "without leaks"),
        ("size", "without size"),
    ],
)
def test_a_part_that_is_missing_or_broken_is_named(folder, how, message):
    assert evidence_store.load(folder, 3, "f" * 64).version == 3
    damage(folder, how)
    with pytest.raises(EvidenceError, match="version 3") as caught:
        evidence_store.load(folder, 3, "f" * 64)
    assert message in str(caught.value)
