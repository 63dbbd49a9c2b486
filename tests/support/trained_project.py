"""A small project that every stage has run in once: three classes of coloured textures that anyone can tell apart."""

import io
import shutil
from contextlib import chdir
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pipeline.core import paths
from pipeline.data import folder
from tests.support import once, tracing

STAGES = (
    "catalog",
    "validate",
    "dedupe",
    "split",
    "pack",
    "embed",
    "train",
    "finetune",
    "evaluate",
    "cross_fit",
    "audit",
    "register",
)
COLOURS = {"drawings": (225, 40, 40), "neutral": (40, 225, 40), "porn": (40, 40, 225)}
EACH = 36
SIZE = 32
# Pictures that lie in another label's folder.
MISLABELLED = {("drawings", 3): "porn", ("neutral", 7): "drawings", ("porn", 11): "neutral", ("porn", 20): "drawings"}
_ROOT = Path(__file__).parents[2]


def run(stage: str) -> None:
    """Run one stage here, in this process."""
    import_module(f"pipeline.stages.{stage}").main()


@dataclass(frozen=True)
class Project:
    """Where it is, and the file names (`origin`) of the wrongly labelled pictures."""

    root: Path
    wrong: frozenset[str]

    def origins(self) -> pd.Series:
        """Each content's file name, by sha256."""
        sightings = pd.concat(pd.read_parquet(path) for path in (self.root / paths.SIGHTINGS).glob("*.parquet"))
        return sightings.set_index("sha256")["origin"]


def picture(label: str, number: int) -> bytes:
    """A faint texture in the label's colour, as JPEG. (Random weights amplify whatever pictures differ in.)"""
    rng = np.random.default_rng([sorted(COLOURS).index(label), number])
    pixels = np.array(COLOURS[label]) + rng.uniform(-6, 6, 3) + rng.normal(0, 1, (48, 48, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def scrape(root: Path) -> frozenset[str]:
    """Draw the scrape, two exact copies and a broken file with it; return what is wrongly labelled."""
    wrong = set()
    for label in COLOURS:
        (root / label).mkdir(parents=True)
    for label in COLOURS:
        for number in range(EACH):
            name = f"{MISLABELLED.get((label, number), label)}/{label}-{number}.jpg"
            (root / name).write_bytes(picture(label, number))
            if (label, number) in MISLABELLED:
                wrong.add(name)
    shutil.copyfile(root / "porn/porn-0.jpg", root / "porn/copy.jpg")
    shutil.copyfile(root / "porn/porn-1.jpg", root / "neutral/conflict.jpg")
    (root / "neutral/broken.jpg").write_bytes(picture("neutral", 0)[:300])
    return frozenset(wrong)


def parameters() -> dict:
    """The project's own params, shrunk."""
    document = yaml.safe_load((_ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["labels"] = {"names": sorted(COLOURS), "unsafe": ["porn"]}
    document["backbone"] |= {"alpha": 0.35, "weights": "tiny.weights.h5", "size": SIZE}
    document["validate"]["smallest_class"]["limit"] = 10
    document["dedupe"] |= {"blank_contrast": 0.0, "near": False}  # all its pictures are nearly the same
    document["split"] |= {"fractions": {"train": 0.5, "val": 0.25, "test": 0.25}, "min_per_split": 2}
    document["embed"] |= {"views": 1}
    document["train"] |= {"epochs": 3}
    # Its head is the better model; what tests look at is one whose layers have moved, and that is too sure.
    schedule = {"kind": "exponential", "initial": 0.001, "rate": 0.93, "every_epochs": 1.0, "warmup_epochs": 1.0}
    document["finetune"] |= {"epochs": 2, "unfreeze": "block_14", "keep_start": False}
    document["finetune"] |= {"batchnorm": "frozen", "schedule": schedule}
    document["pack"] |= {"pictures_per_file": 20}
    document["tune"] |= {"epochs": 2, "head_epochs": 2, "min_steps": 1, "subset": 0.5, "startup_trials": 2}
    document["tune"] |= {"confirm_seeds": 2, "rungs": []}
    document["tune"]["space"] |= {"finetune.unfreeze": {"choices": ["block_13", "block_14", "none"]}}
    return document


def save_weights(path: Path) -> None:
    """Save random weights that behave like learned ones: similar pictures get similar features.

    BatchNorm's statistics fit, or the features would vanish; ReLU6 works where it is linear, or noise would grow by
    each of its 35 layers.
    """
    import keras

    keras.utils.set_random_seed(5)
    model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), alpha=0.35)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            if not layer.name.endswith("project_BN"):
                layer.beta.assign(np.full(layer.beta.shape, 3.0))  # the middle of ReLU6
    pictures = [
        np.array(Image.open(io.BytesIO(picture(label, k))).resize((SIZE, SIZE))) for label in COLOURS for k in range(8)
    ]
    model(np.stack(pictures) / 127.5 - 1, training=True)
    model.save_weights(path)


def build(root: Path) -> Project:
    """Run every stage in a new project."""
    root.mkdir()
    with tracing.traced(), pytest.MonkeyPatch.context() as patch, chdir(root):
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        wrong = scrape(root / "raw")
        paths.PARAMS.write_text(yaml.safe_dump(parameters(), sort_keys=False), encoding="utf-8")
        save_weights(Path("tiny.weights.h5"))
        folder.ingest(folder.scan(Path("raw"), sorted(COLOURS)), paths.DATA, "test")
        for stage in STAGES:
            run(stage)
    return Project(root, wrong)


@pytest.fixture(scope="session")
def trained_project(tmp_path_factory) -> Project:
    """The project after all its stages. Do not write to it: take `project_copy` for that."""
    root = tmp_path_factory.mktemp("trained") / "project"
    known = once.per_session(
        tmp_path_factory, "trained", lambda: {"root": str(root), "wrong": sorted(build(root).wrong)}
    )
    return Project(Path(known["root"]), frozenset(known["wrong"]))


@pytest.fixture
def in_project(trained_project, monkeypatch) -> Project:
    """The trained project as the working directory, to be read only."""
    monkeypatch.chdir(trained_project.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return trained_project


@pytest.fixture
def project_copy(trained_project, tmp_path, monkeypatch) -> Path:
    """A copy of the trained project as the working directory, without MLflow's store; no server answers."""
    root = tmp_path / "copy"
    shutil.copytree(
        trained_project.root, root, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts", "raw", ".cache")
    )
    monkeypatch.chdir(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    return root
