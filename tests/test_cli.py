import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.files import write_json

_ROOT = Path(__file__).parents[1]
FIGURES = {
    "accuracy": 0.9,
    "macro_recall": 0.875,
    "recall": {"drawings": 1.0, "porn": 0.75},
    "unsafe": {"recall": 0.75, "precision": None},
    "pictures": 40,
    "loss": 0.3,
}


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """What a run leaves of figures."""
    monkeypatch.chdir(tmp_path)
    write_json({"sighted": 60, "quarantined": {"total": 5, "reason": {}}}, paths.METRICS / "validate.json")
    write_json({"exact_copies": 3, "conflicts": 2, "kept": 50}, paths.METRICS / "dedupe.json")
    frozen = FIGURES | {"accuracy": 0.5, "recall": {"drawings": None, "porn": 0.25}}
    write_json({"frozen": frozen, "finetuned": FIGURES}, paths.METRICS / "evaluate.json")
    paths.LABEL_ISSUES.parent.mkdir()
    paths.LABEL_ISSUES.write_text("sha256,label,suggested\na,porn,drawings\nb,porn,drawings\n", encoding="utf-8")
    registered = {"model": "nsfw", "alias": "challenger", "version": 3, "uri": "models:/nsfw/3", "pending": False}
    write_json(registered, paths.REGISTERED)
    return registered


def test_summary_tells_the_runs_figures_and_what_to_type_next(nsfw, finished):
    code, out, _ = nsfw("summary")
    assert code == 0
    for figure in ("60 sighted", "5 quarantined", "3 exact copies", "2 conflicts", "50 kept", "40 pictures"):
        assert figure in out
    table = {line.rsplit(maxsplit=4)[0].strip(): line.split()[-4:] for line in out.splitlines() if line.endswith(" %")}
    assert table["accuracy"] == ["50.0", "%", "90.0", "%"]
    assert table["recall porn"] == ["25.0", "%", "75.0", "%"]
    assert re.search("model +nsfw.* version 3, models:/nsfw/3, alias challenger", out)
    assert "2 look wrong" in out
    assert "make ui" in out


def test_summary_as_json(nsfw, finished):
    code, out, _ = nsfw("summary", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["sighted"], found["kept"], found["test_pictures"], found["suspicious_labels"]) == (60, 50, 40, 2)
    assert found["frozen"]["recall"] == {"drawings": None, "porn": 0.25}
    assert found["finetuned"]["unsafe"]["recall"] == 0.75
    assert found["model"] == finished


def test_summary_of_a_pending_registration_names_sync(nsfw, finished):
    write_json(finished | {"pending": True, "version": None}, paths.REGISTERED)
    assert "`nsfw sync`" in nsfw("summary")[1]


@pytest.mark.parametrize(
    "missing", ["metrics/validate.json", "metrics/evaluate.json", "reports/label_issues.csv", "build/registered.json"]
)
def test_before_a_run_summary_names_what_is_missing_in_one_line(nsfw, finished, missing):
    Path(missing).unlink()
    code, out, err = nsfw("summary")
    assert (code, out) == (1, "")
    assert err.count("error: ") == len(err.splitlines()) == 1
    assert missing in err
    assert "dvc repro" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch"],
        ["summary", "--nosuch"],
        ["export-backbone"],
        ["ui", "--port", "web"],
        ["ingest", "folder", "x", "--max-mb", "0"],
        ["sample", "--seed", "-1"],
    ],
)
def test_wrong_usage_is_exit_2(nsfw, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = nsfw(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: " in err
    assert not any(tmp_path.iterdir())


def test_a_weights_file_needs_its_ending_before_anything_is_read(nsfw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = nsfw("import-weights", "absent/model.json", "out.h5")
    assert code == 1
    assert ".weights.h5" in err


def test_a_missing_layers_model_is_named(nsfw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = nsfw("import-weights", "absent/model.json", "out.weights.h5")
    assert code == 1
    assert err.startswith("error: absent/model.json does not exist")


def test_ingest_outside_a_project_says_where_to_go(nsfw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = nsfw("ingest", "folder", "x")
    assert code == 1
    assert "is not the project's root" in err


def test_ui_with_a_server_elsewhere_names_it_without_the_password(nsfw, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@mlflow.example/x")
    code, out, _ = nsfw("ui")
    assert code == 0
    assert "https://mlflow.example/x" in out
    assert "secret" not in out


def stage(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["../cli"], ["catalog", "split"]])
def test_an_unknown_stage_is_exit_2_and_lists_those_there_are(arguments):
    done = stage(*arguments, cwd=_ROOT)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: python -m pipeline {audit,catalog,dedupe,")
    assert len(done.stderr.splitlines()) == 1


def test_a_stage_tells_a_users_error_without_a_traceback(tmp_path):
    done = stage("split", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: params.yaml does not exist here. Run this in the project's root.\n"


def test_help_comes_at_once_and_imports_nothing_heavy():
    code = """
import atexit, sys
sys.argv[1:] = ["--help"]
atexit.register(lambda: print(*sorted(sys.modules)))
from pipeline.cli import main
main()
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 20  # a second on an idle machine
    assert {"ingest", "export-backbone", "sync"} <= set(done.stdout.replace("│", " ").split())
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "typer" in loaded
    assert not loaded & {"tensorflow", "keras", "mlflow", "sklearn", "great_expectations", "matplotlib", "pandas"}
