"""The graph, the params and the code must tell the same story."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from pipeline.core import code_digests
from pipeline.params.root import Params

pytestmark = pytest.mark.untraced

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))

# The rooms, in layers: a module imports its own room, and rooms of layers above its own line. One table for all.
LAYERS = (
    {"core"},
    {"params"},
    {"data", "model", "pages", "sample", "tracking"},
    {"images", "evaluation"},
    {"duplicates", "screening", "serving", "training"},
    {"catalog", "evidence", "validation"},
    {"registry"},
    {"batch_scoring", "exporting", "promotion", "takedown", "tar_ingest", "tuning", "web_ingest"},
    {"diagnosis", "garbage", "model_import", "monitoring", "overview", "reports", "service"},
    {"demo", "review"},
    {"cli", "stages"},
)
BELOW = {room: set().union(*LAYERS[:number]) for number, layer in enumerate(LAYERS) for room in layer}


@cache
def imports(module: str) -> frozenset[str]:
    """Every project module that a file imports itself, inside functions too."""
    imported = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where they lead"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        imported |= {path for name in names if (path := name.replace(".", "/") + ".py") in MODULES}
    return frozenset(imported)


def stage_modules(stage: str) -> set[str]:
    return {name.replace(".", "/") + ".py" for name in code_digests.closure(f"pipeline.stages.{stage}")}


def part(module: str) -> str:
    """The package, or the module's own name where it lies at the top: `images`, `params`."""
    return Path(module).parts[1].removesuffix(".py")


def keys(document: dict[str, Any], above: str = "") -> Iterator[str]:
    """Every leaf of params.yaml, dotted; schedule (its keys vary), space and drop (may be null) count as one each."""
    for key, value in document.items():
        if isinstance(value, dict) and key not in {"schedule", "space", "drop"}:
            yield from keys(value, f"{above}{key}.")
        else:
            yield above + key


def fields(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every leaf of the models, dotted."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{above}{key}.")
        else:
            yield above + key


def covers(entry: str, key: str) -> bool:
    return key == entry or key.startswith(entry + ".")


def test_params_yaml_and_the_models_have_the_same_keys_in_the_same_order():
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert list(keys(document)) == list(fields(Params))
    schedule = document["finetune"]["schedule"]
    of_kind = {
        get_args(kind.model_fields["kind"].annotation)[0]: set(kind.model_fields)
        for kind in get_args(Params.model_fields["finetune"].annotation.model_fields["schedule"].annotation)
    }
    assert set(schedule) == of_kind[schedule["kind"]]


def test_every_key_reaches_a_stage_and_every_entry_is_a_key():
    of_commands = ("review.", "tune.", "score.", "export.", "serve.", "reports.", "ingest.", "monitor.", "compute.")
    known = [key for key in fields(Params) if not key.startswith(of_commands)]
    entries = {entry for stage in STAGES.values() for entry in stage["params"]}
    assert [key for key in known if not any(covers(entry, key) for entry in entries)] == []
    assert [entry for entry in entries if not any(covers(entry, key) for key in known)] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_the_params_that_its_modules_read_and_no_other(stage):
    read, listed = params_read(stage), STAGES[stage]["params"]
    assert [key for key in read if not any(covers(entry, key) or covers(key, entry) for entry in listed)] == []
    assert [entry for entry in listed if not any(covers(entry, key) or covers(key, entry) for key in read)] == []


def params_read(stage: str) -> set[str]:
    """Every `params.<section>...` in the stage's modules, as a key of params.yaml."""
    sections, read = set(Params.model_fields), set()
    for module in stage_modules(stage):
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
            name, *chain = attributes(node) or [""]
            if name == "params" and chain and chain[0] in sections:
                read.add(".".join([chain[0].removesuffix("_"), *chain[1:]]))
    return read


def attributes(node: ast.AST) -> list[str]:
    """`params.split.salt` as [params, split, salt]; [] for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := attributes(node.value)):
        return [*before, node.attr]
    return []


def test_a_stage_depends_on_its_list_of_modules():
    assert STAGES["code"]["cmd"] == "python -m pipeline code"
    assert STAGES["code"]["deps"] == ["pipeline"]
    for stage in set(STAGES) - {"code"}:
        assert STAGES[stage]["cmd"] == f"python -m pipeline {stage}"
        assert STAGES[stage]["deps"][0] == f"build/code/{stage}.txt"
        assert [dep for dep in STAGES[stage]["deps"] if dep.startswith("pipeline")] == []


def test_every_stage_module_is_in_the_graph():
    assert {path.stem for path in (PACKAGE / "stages").glob("*.py")} - {"__init__"} == set(STAGES)


@pytest.mark.parametrize("module", [module for module in MODULES if module.endswith("__init__.py")])
def test_a_package_holds_a_docstring_alone(module):
    """So importing `pipeline.images.decode` runs no code of another module, and needs no other dep."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) not in {"__init__", "__main__"}])
def test_imports_run_one_way(module):
    here = part(module)
    assert {part(imported) for imported in imports(module)} - {here, "__init__"} <= BELOW[here]


def test_every_room_is_in_a_layer():
    assert {part(module) for module in MODULES} - {"__init__", "__main__"} == set(BELOW)


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_short(module):
    """At most 250 lines; a function at most 40 beside its docstring."""
    text = (ROOT / module).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno + 1 <= 40, node.name


def outs() -> list[str]:
    listed = [out for stage in STAGES.values() for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in listed]


def test_git_ignores_every_out():
    """By hand, in .gitignore: DVC writes none for the stages of a run that failed later."""
    paths = [*outs(), "data", ".cache/catalog/a.parquet", "mlflow.db"]
    command = ["git", "check-ignore", "--verbose", "--no-index", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    by_hand = [line.split("\t")[1] for line in done.stdout.splitlines() if line.startswith(".gitignore:")]
    assert by_hand == paths


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["ingest", "folder", "--help"],
        ["ingest", "urls", "--help"],
        ["ingest", "tars", "--help"],
        ["tune", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments):
    command = [str(Path(sys.executable).with_name("nsfw")), *arguments]
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"typer", "pipeline"} <= imported
    heavy = {
        "tensorflow",
        "keras",
        "mlflow",
        "pandas",
        "numpy",
        "sklearn",
        "great_expectations",
        "matplotlib",
        "PIL",
        "dvc",
        "optuna",
    }
    assert imported & heavy == set()


def test_the_command_that_searches_imports_no_network():
    """Its workers do; its own process only starts them, for hours."""
    code = (
        "import sys, pipeline.tuning.report, pipeline.tuning.search; print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_workers_that_open_pictures_import_no_network():
    """Each imports the module of the function that it runs, within its limits of time and memory."""
    users = [
        module
        for module in MODULES
        if re.search(r"\bsandbox\.(run|submit)\(", (ROOT / module).read_text(encoding="utf-8"))
    ]
    assert len(users) > 5
    names = [module.removesuffix(".py").replace("/", ".") for module in users]
    heavy = "sorted({'keras', 'tensorflow', 'sklearn'} & set(sys.modules))"
    code = "\n".join(["import sys", *(f"import {name}; assert not {heavy}, ('{name}', {heavy})" for name in names)])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
