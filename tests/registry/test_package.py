"""The code that is packaged with a registered model: what serving it imports, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import code_digests
from pipeline.registry import package

ENTRY = "pipeline.serving.pyfunc_model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder that holds the package as a registered model carries it."""
    return package._code(tmp_path_factory.mktemp("code")).parent


def modules(folder: Path) -> set[str]:
    """Dotted names of a folder's modules; a package is named without `__init__`."""
    paths = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*") if path.is_file()]
    return {".".join(path.parts).removesuffix(".__init__") for path in paths}


def packages(names: set[str]) -> set[str]:
    """The packages above some modules."""
    return {name[:i] for name in names for i, letter in enumerate(name) if letter == "."}


def test_it_holds_the_import_closure_of_the_entry_and_the_packages_above_it(folder):
    closure = code_digests.closure(ENTRY)
    assert ENTRY in closure
    assert modules(folder) == closure | packages(closure)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".py"}


def test_each_module_in_it_is_imported_when_the_model_is_loaded(folder):
    code = f"""if True:
        import json, sys
        sys.path.insert(0, {str(folder)!r})
        import {ENTRY}
        imported = {{name: module.__file__ for name, module in sys.modules.items() if name.startswith("pipeline.")}}
        print(json.dumps(imported))
    """
    result = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    imported = json.loads(result.stdout.splitlines()[-1])
    assert [file for file in imported.values() if not Path(file).is_relative_to(folder)] == []
    names, carried = set(imported), modules(folder)
    assert sorted(names - packages(names)) == sorted(carried - packages(carried))
