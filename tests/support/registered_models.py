"""Small real models, and their registration as the graph does it."""

import shutil
from pathlib import Path

import pytest

from pipeline.core import paths, tables
from pipeline.core.files import write_json
from pipeline.evidence.document import DOCUMENT, FACTS, PREDICTIONS
from pipeline.registry.model_versions import Bundle, register
from pipeline.registry.package import Candidate
from pipeline.serving.decision import Decision
from pipeline.tracking.lineage import digest
from tests.support.tracking_helpers import begin
from tests.support.versions import NAMES, document, facts, predictions

LABELS = ("drawings", "neutral", "porn")


@pytest.fixture(scope="session")
def model_bytes(tmp_path_factory) -> bytes:
    """A tiny untrained model of 32 px."""
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 32, 3))
    features = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(inputs))
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(features))
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Model(inputs, outputs).save(path)
    return path.read_bytes()


def made(content: bytes = b"model", **more) -> Candidate:
    """A candidate in build/finetuned, of a run that has finished."""
    with begin() as record:
        record.log_epoch(0, {"val_loss": 1.0})
        record.model_path.write_bytes(content)
    record.copy_to(paths.FINETUNED)
    values = {"name": "nsfw", "alias": "challenger", "labels": LABELS, "unsafe": ("porn",), "size": 32}
    evidence = {"macro_recall": 0.912345, "recall/porn": 0.95}
    return Candidate(paths.FINETUNED, **values, rescaling="unit", evidence=evidence, **more)


DECISION = Decision(NAMES, ("porn",), 1.1, 0.4)  # as the evidence of `versions.document` has it


def registered(content: bytes, project: Path, carried: dict | None = None, **of_facts) -> int:
    """Register a model as the graph does, with evidence of it; return its version."""
    candidate = made(content, decision=carried)
    sha256 = digest(candidate.model_file)
    folder = project / "gathered" / sha256[:8]
    folder.mkdir(parents=True)
    frame = predictions()
    write_json(document(frame, sha256), folder / DOCUMENT)
    write_json(facts(sha256, **of_facts), folder / FACTS)
    tables.write_parquet(frame, folder / PREDICTIONS)
    done = register(candidate, bundle=Bundle(folder, digest(folder)))
    assert done.version is not None, done.problem
    shutil.rmtree(paths.FINETUNED)
    return done.version


def artifacts(client, version=1) -> Path:
    """The folder of a version's files."""
    import mlflow

    return (
        Path(mlflow.artifacts.download_artifacts(client.get_model_version("nsfw", str(version)).source)) / "artifacts"
    )
