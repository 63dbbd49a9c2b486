import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.evidence.document import DOCUMENT, FACTS
from pipeline.images.limits import Limits
from pipeline.promotion import promoting
from pipeline.registry import ledger, verification
from pipeline.registry.model_versions import register
from pipeline.serving.decision import Decision
from tests.support.registered_models import DECISION, artifacts, made, model_bytes, registered
from tests.support.versions import NAMES

pytestmark = pytest.mark.untraced

__all__ = ["model_bytes"]  # a fixture


@pytest.fixture
def promoted(client, params, project, model_bytes):
    """Version 1, a real model, in production by way of the gates."""
    assert registered(model_bytes, project) == 1
    outcome = promoting.promote(params, None, reason="first")
    assert outcome.entry is not None, outcome.failed
    return params


def test_evidence_that_cannot_be_reached_is_to_be_brought_back_and_no_doubt_to_pass_over(promoted, project):
    shutil.rmtree(paths.EVIDENCE_CACHE)
    (evidence_folder,) = [path.parent for path in (project / "mlartifacts").rglob(DOCUMENT)]
    away = evidence_folder.rename(project / "away")
    with pytest.raises(UserError, match="bring these files back") as caught:
        verification.verify(promoted)
    assert "--allow-unverified" not in str(caught.value)
    assert verification.verify(promoted, allow_unverified=True).doubts
    away.rename(evidence_folder)
    assert verification.verify(promoted).doubts == ()


def test_production_is_verified_and_answers(promoted):
    opened = verification.verify(promoted)
    assert (opened.model, opened.version, opened.doubts) == ("nsfw", 1, ())
    classifier = opened.classifier()
    assert (classifier.labels, classifier.size) == (NAMES, 32)
    picture = io.BytesIO()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(picture, "PNG")
    probabilities, errors = classifier.predict([picture.getvalue(), b"rubbish"])
    assert probabilities[0].sum() == pytest.approx(1.0, abs=1e-5)
    assert (errors[0], errors[1][:13]) == ("", "not_a_picture")


def test_a_plain_client_past_the_gates_is_refused_and_served_only_by_override(promoted, client):
    """Another version of the very same files, made and aliased without us."""
    source = client.get_model_version("nsfw", "1").source
    client.create_model_version("nsfw", source)
    client.set_registered_model_alias("nsfw", "production", "2")
    with pytest.raises(UserError) as caught:
        verification.verify(promoted)
    for part in ("version 2 of nsfw is not served", "WENT PAST THE GATES", "no evidence", "--allow-unverified"):
        assert part in str(caught.value)
    opened = verification.verify(promoted, allow_unverified=True)
    assert opened.version == 2
    (doubt,) = opened.doubts
    assert "WENT PAST THE GATES" in doubt
    assert opened.classifier().labels == NAMES


def test_past_the_gates_before_anything_was_promoted(client, params, project, model_bytes):
    registered(model_bytes, project)
    client.set_registered_model_alias("nsfw", "production", "1")
    with pytest.raises(UserError, match=r"not served: WENT PAST THE GATES.*nothing was ever promoted"):
        verification.verify(params)
    assert verification.verify(params, allow_unverified=True).doubts


def test_nothing_of_what_went_past_the_gates_is_fetched_before_it_is_refused(promoted, client, monkeypatch):
    client.create_model_version("nsfw", "s3://somebody/elses")
    client.set_registered_model_alias("nsfw", "production", "2")
    fetched = []
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", lambda *arguments: fetched.append(arguments))
    with pytest.raises(UserError, match="WENT PAST THE GATES"):
        verification.verify(promoted)
    assert fetched == []


def test_an_override_cannot_serve_what_is_no_model_of_ours(promoted, client, project):
    plain = project / "plain"
    (plain / "artifacts").mkdir(parents=True)
    (plain / "artifacts" / "model.keras").write_bytes(b"x")
    client.create_model_version("nsfw", plain.as_uri())
    client.set_registered_model_alias("nsfw", "production", "2")
    opened = verification.verify(promoted, allow_unverified=True)
    with pytest.raises(UserError, match=r"cannot be served: its model.json is missing.*nsfw import-model"):
        opened.classifier()
    client.create_model_version("nsfw", (project / "nowhere").as_uri())
    client.set_registered_model_alias("nsfw", "production", "3")
    with pytest.raises(UserError, match="the files of version 3 of nsfw cannot be fetched"):
        verification.verify(promoted, allow_unverified=True)


def test_other_model_bytes_than_were_promoted_are_refused(promoted, client):
    file = artifacts(client) / "model.keras"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"its model file is \w{12}, but \w{12} was promoted"):
        verification.verify(promoted)
    file.unlink()
    with pytest.raises(UserError, match=r"its model file is missing, but \w{12} was promoted"):
        verification.verify(promoted)


def test_another_reading_of_the_same_bytes_is_refused(promoted, client):
    """Labels in another order over the very model that was judged: porn would pass as drawings."""
    file = artifacts(client) / "model.json"
    sound = json.loads(file.read_text())
    for key, value, message in [
        ("labels", ["porn", "neutral", "drawings"], r"says labels \['porn', 'neutral', 'drawings'\], but \['drawings'"),
        ("size", 64, "says size 64, but 32 was judged"),
        ("labels", None, "says labels None"),
    ]:
        file.write_text(json.dumps(sound | {key: value}))
        with pytest.raises(UserError, match=message):
            verification.verify(promoted)
        assert len(verification.verify(promoted, allow_unverified=True).doubts) == 1
    file.write_text(json.dumps(sound))
    assert verification.verify(promoted).doubts == ()


def test_an_adapter_that_the_facts_know_must_be_the_one(client, params, project, model_bytes):
    registered(model_bytes, project, adapter={"channels": "bgr"})
    assert promoting.promote(params, None, reason="first").entry
    with pytest.raises(UserError, match=r"says adapter None, but \{'channels': 'bgr'\} was judged"):
        verification.verify(params)


@pytest.fixture
def decided(client, params, project, model_bytes):
    """Version 1 in production, with the evidence's decision."""
    document = DECISION.to_document()
    registered(model_bytes, project, document, decision=document)
    assert promoting.promote(params, None, reason="first").entry
    return params


def test_a_version_decides_as_its_evidence_says(decided):
    opened = verification.verify(decided)
    classifier = opened.classifier()
    assert (opened.doubts, opened.decision, classifier.decision) == ((), DECISION, DECISION)
    scores = classifier.classify(np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8))
    assert scores.decisions == ["unsafe" if score >= 0.4 else "safe" for score in scores.probabilities[:, 2]]


@pytest.mark.parametrize("change", [{"threshold": 0.99}, {"temperature": 9.0}, {"unsafe": []}, {"extra": 1}, None])
def test_another_decision_than_its_evidence_found_is_refused(decided, client, change):
    """A threshold that flags nothing would be the quietest way past the gates."""
    file = artifacts(client) / "model.json"
    spec = json.loads(file.read_text())
    file.write_text(json.dumps(spec | {"decision": change and spec["decision"] | change}))
    with pytest.raises(UserError, match=r"says decision .*, which is not what its evidence found"):
        verification.verify(decided)


def test_a_version_of_before_decisions_loads_without_one(promoted, client):
    file = artifacts(client) / "model.json"
    spec = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in spec.items() if key not in {"decision", "limits"}}))
    opened = verification.verify(promoted)
    assert opened.decision == Decision(NAMES, ("porn",))
    squares = np.zeros((2, 32, 32, 3), np.uint8)
    scores = opened.classifier().classify(squares)
    assert scores.decisions == [None, None]
    np.testing.assert_allclose(scores.unsafe, scores.probabilities[:, 2])
    assert opened.limits(Limits(min_side=3)) == Limits(min_side=3)


def test_limits_are_the_versions_own(promoted):
    opened = verification.verify(promoted)
    stored = {"max_pixels": 100, "min_side": 2, "max_aspect": 3.0, "formats": ["PNG", "TIFF"]}
    assert replace(opened, spec=opened.spec | {"limits": stored}).limits(Limits()) == Limits(
        100, 2, 3.0, ("PNG", "TIFF")
    )
    for odd in ({"max_pixels": "x"}, stored | {"formats": ["ICO"]}, stored | {"formats": 3}, "x"):
        with pytest.raises(UserError, match="odd limits"):
            replace(opened, spec=opened.spec | {"limits": odd}).limits(Limits())


@pytest.mark.parametrize("name", ["../../../secret.keras", "/etc/passwd", "..", "", "a/b"])
def test_a_spec_that_names_a_file_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="names a model file elsewhere"):
        verification.model_file(tmp_path, {"file": name})
    assert verification.model_file(tmp_path, {}) == tmp_path / "model.keras"


def test_evidence_that_was_changed_is_refused(promoted, client):
    registered_version = client.get_model_version("nsfw", "1")
    root = Path(client.get_run(registered_version.run_id).info.artifact_uri.removeprefix("file://")) / "evidence"
    (folder,) = root.iterdir()
    (folder / FACTS).write_text("{}")
    shutil.rmtree(paths.EVIDENCE_CACHE)
    with pytest.raises(UserError, match="its evidence has been changed since it was registered"):
        verification.verify(promoted)


def test_promoted_without_evidence_is_refused(params, client, project, model_bytes):
    register(made(model_bytes))
    outcome = promoting.judge(params)
    done = promoting.promote(params, None, reason="must", overrides=outcome.failed)
    assert done.entry is not None
    with pytest.raises(UserError, match="it was promoted without evidence"):
        verification.verify(params)
    assert verification.verify(params, allow_unverified=True).classifier().labels == NAMES


def test_an_interrupted_promotion_serves_what_the_ledger_says(promoted, client, project, model_bytes, monkeypatch):
    import keras

    model = keras.models.load_model(artifacts(client) / "model.keras")
    model.save(project / "second.keras")
    second = registered((project / "second.keras").read_bytes(), project)
    with monkeypatch.context() as patch:

        def kill(*_):
            raise KeyboardInterrupt

        patch.setattr(ledger, "sync_alias", kill)
        with pytest.raises(KeyboardInterrupt):
            promoting.promote(promoted, str(second), reason="second")
    assert ledger.alias_version(client, "nsfw", "production") == 1
    opened = verification.verify(promoted)
    assert (opened.version, opened.doubts) == (second, ())


def test_a_broken_ledger_serves_nothing_without_override(promoted, client):
    known = ledger.read(client, "nsfw")
    ledger.append(client, "nsfw", known.last.draft, known)
    assert verification.verify(promoted).version == 1
    client.delete_model_version("nsfw-ledger", "2")
    with pytest.raises(UserError, match="not served: THE LEDGER IS BROKEN: entry 2 deleted"):
        verification.verify(promoted)
    assert verification.verify(promoted, allow_unverified=True).version == 1


def test_without_the_alias_production_is_the_ledgers(promoted, client):
    client.delete_registered_model_alias("nsfw", "production")
    assert verification.verify(promoted).version == 1


def test_nothing_in_production_or_deleted(client, params, makes):
    makes.version()
    with pytest.raises(UserError, match="nothing of nsfw is in production"):
        verification.verify(params)
    promoting.promote(params, None, reason="r")
    client.delete_model_version("nsfw", "1")
    with pytest.raises(UserError, match="version 1, which is production, has been deleted"):
        verification.verify(params, allow_unverified=True)
