"""A registered model alone: a fresh environment with the model's own requirements, a folder outside the repository."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from pipeline.registry.model_versions import register
from pipeline.serving.classifier import Classifier
from tests.support.mlflow_store import client, mlflow_server, project, store, template
from tests.support.postgres_server import postgres
from tests.support.registered_models import LABELS, made, model_bytes

__all__ = ["client", "mlflow_server", "model_bytes", "postgres", "project", "store", "template"]  # fixtures

PREDICT = """if True:
    import json, mlflow, pandas, pathlib
    model = mlflow.pyfunc.load_model("model")
    answer = model.predict(pandas.DataFrame({"image": [pathlib.Path("picture.png").read_bytes(), b"rubbish"]}))
    import pipeline
    row, error = answer.iloc[0], answer["error"][1]
    print(json.dumps([[float(value) for value in row.iloc[:3]], row["error"], error, pipeline.__file__]))
"""


def environment_with(requirements: Path, folder: Path) -> Path:
    """A new virtual environment that holds what a requirements.txt lists; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        subprocess.run([python, "-m", "ensurepip"], check=True, capture_output=True)
        install = [python, "-m", "pip", "install"]
    else:
        install = [uv, "pip", "install", "--python", python]
    result = subprocess.run([*install, "-r", requirements], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return python


@pytest.mark.slow
def test_its_own_requirements_are_enough_to_load_it_and_predict(client, model_bytes, tmp_path):
    register(made(model_bytes))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    source = mlflow.artifacts.download_artifacts(client.get_model_version("nsfw", "1").source)
    shutil.copytree(source, elsewhere / "model")
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 60, 3), np.uint8)).save(picture, "PNG")
    (elsewhere / "picture.png").write_bytes(picture.getvalue())
    python = environment_with(elsewhere / "model" / "requirements.txt", tmp_path / "environment")
    alone = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    result = subprocess.run(
        [python, "-c", PREDICT], cwd=elsewhere, env=alone, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    probabilities, error, rubbish, package = json.loads(result.stdout.splitlines()[-1])
    expected, _ = Classifier(elsewhere / "model" / "artifacts" / "model.keras", LABELS, 32).predict(
        [picture.getvalue()]
    )
    np.testing.assert_allclose(probabilities, expected[0], atol=1e-5)
    assert (error, rubbish.partition(":")[0]) == ("", "not_a_picture")
    assert Path(package).is_relative_to(elsewhere)
