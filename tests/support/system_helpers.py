"""A project of its own: this repository's source, copied, with a small sample and a tiny backbone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
PICTURES, SEED = 250, 3
WEIGHTS = "pipeline/model/weights/tiny.weights.h5"
# Nothing listens there.
DEAD = "http://127.0.0.1:9"


def plain_environment() -> dict[str, str]:
    """Return the environment of a person's shell, without what libraries have set in this process.

    A container may forbid bytecode, as no person does: a copy's commands would each compile its package anew.
    """
    ours = ("MLFLOW_", "PYTEST_", "DVC_", "TF_", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


@dataclass
class Project:
    """A copy of the project, and how to act in it."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(
        self, *command: str, mlflow: str | None = None, check: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; its own interpreter comes first on PATH, as `make` sees to."""
        environment = self.environment(mlflow, env)
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done

    def environment(self, mlflow: str | None = None, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables of a command in the project."""
        plain = plain_environment()
        ours = {"PATH": f"{Path(sys.executable).parent}:{plain['PATH']}", "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}
        server = {} if mlflow is None else {"MLFLOW_TRACKING_URI": mlflow}
        return plain | ours | self.env | server | dict(env or {})

    def nsfw(self, *arguments: str, **more) -> subprocess.CompletedProcess[str]:
        """Run this copy's `nsfw` (the installed one would import the repository's package)."""
        return self.run("python", "-c", "from pipeline.cli.console import main; main()", *arguments, **more)

    def repro(self, *arguments: str, **more) -> subprocess.CompletedProcess[str]:
        """Run `dvc repro`."""
        return self.run("python", "-m", "dvc", "repro", *arguments, **more)

    def repro_until(self, line: str, act: Callable[[], None], env: Mapping[str, str]) -> str:
        """Run `dvc repro` to its end, and do something as soon as it prints this line; return all that it printed."""
        output = []
        with subprocess.Popen(
            ["python", "-m", "dvc", "repro"],
            cwd=self.root,
            env=self.environment(env=env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for printed in process.stdout:
                output.append(printed)
                if line in printed:
                    act()
        assert process.returncode == 0, "".join(output)
        assert any(line in printed for printed in output), "".join(output)
        return "".join(output)

    def ran(self, done: subprocess.CompletedProcess[str]) -> list[str]:
        """The stages that a `dvc repro` ran, or would run."""
        starts = [line for line in done.stdout.splitlines() if line.startswith("Running stage '")]
        return [line.split("'")[1] for line in starts]

    def change(self, section: str, **values: object) -> None:
        """Change params.yaml."""
        path = self.root / "params.yaml"
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        document[section] |= values
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def locked(self) -> Mapping[str, Mapping[str, str]]:
        """Each stage's outputs in dvc.lock, with their md5."""
        stages = yaml.safe_load((self.root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
        return {name: {out["path"]: out["md5"] for out in stage.get("outs", [])} for name, stage in stages.items()}


def copy_source(root: Path) -> None:
    """Copy what git would take along, but for the bundled sample and backbone, and what Python has compiled of it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, check=True
    )
    for name in sorted(set(listed.stdout.decode().split("\0")) - {"", "data.dvc", "dvc.lock"}):
        source = REPOSITORY / name
        if source.is_file() and not name.startswith((".dvc/sample/", "pipeline/model/weights/", "tests/")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, root / name)  # of the same time: otherwise Python compiles it anew
    for compiled in (REPOSITORY / "pipeline").rglob("__pycache__"):
        half_written = shutil.ignore_patterns("*.pyc.*")
        shutil.copytree(compiled, root / compiled.relative_to(REPOSITORY), ignore=half_written)


SAVE_WEIGHTS = """
import sys, keras, numpy as np
keras.utils.set_random_seed(5)
model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(48, 48, 3), alpha=0.35)
for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.0
model(np.random.default_rng(0).uniform(-1, 1, (16, 48, 48, 3)), training=True)
model.save_weights(sys.argv[1])
"""


def make(root: Path, raw: Path, weights: Path) -> Project:
    """Make a project: source, git, small params, the sample ingested by the command."""
    copy_source(root)
    project = Project(root)
    (root / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, root / WEIGHTS)
    project.change("backbone", weights=WEIGHTS, alpha=0.35, size=48)
    project.change("validate", smallest_class={"limit": 10, "severity": "error"})
    project.change("split", min_per_split=2)
    project.change("embed", views=1)
    project.change("train", epochs=2)
    project.change("finetune", epochs=2, unfreeze="block_14")
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "x"]):
        project.run("git", *command)
    project.nsfw("ingest", "folder", str(raw), "--source", "test-scrape")
    return project
