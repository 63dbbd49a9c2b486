import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.core.files import write_json
from pipeline.overview import summary

_ROOT = Path(__file__).parents[2]
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
    """A project with the figures that a run writes."""
    monkeypatch.chdir(tmp_path)
    write_json(
        {"sighted": 60, "quarantined": {"total": 5, "reason": {"escalated": 2}}}, paths.METRICS / "validate.json"
    )
    people = {"decisions": {"rows": 12, "unknown": 2, "quarantined": 1}, "reports": {"rows": 3}}
    counts = {"exact_copies": 3, "conflicts": 2, "kept": 50, "decisions": 12, "escalated": 1}
    write_json(counts | {"annotations": people}, paths.METRICS / "dedupe.json")
    write_json({"annotations": {"slices": {"rows": 4, "copy": 4}}}, paths.METRICS / "split.json")
    frozen = FIGURES | {"accuracy": 0.5, "recall": {"drawings": None, "porn": 0.25}}
    scraped = {"pictures": 39, "accuracy": 0.8, "macro_recall": 0.7, "unsafe_recall": None}
    sides = {"raw": scraped, "cleaned": scraped | {"pictures": 40, "changed": 6, "relabelled": 2, "confirmed": 5}}
    write_json({"frozen": frozen, "finetuned": FIGURES, "evidence": sides}, paths.METRICS / "evaluate.json")
    write_json({"pictures": 50, "contradicted": 2}, paths.METRICS / "audit.json")
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
    first, _, second = out.partition("decisions  ")
    table, decided = (
        {line.rsplit(maxsplit=4)[0].strip(): line.split()[-4:] for line in part.splitlines() if line.endswith(" %")}
        for part in (first, second)
    )
    assert table["accuracy"] == ["50.0", "%", "90.0", "%"]
    assert table["recall porn"] == ["25.0", "%", "75.0", "%"]
    assert re.search("model +nsfw.* version 3, models:/nsfw/3, alias challenger", out)
    assert "2 look wrong" in out
    assert "2 files of them match a list of ingest.screens: data/escalations.csv" in out
    people = [line.split(":")[0] for line in out.splitlines() if line.startswith("people ")]
    assert people == [
        "people     3 of 12 rows of data/decisions.csv to look at",
        "people     4 of 4 rows of data/slices.csv to look at",
    ]
    assert "on 12 pictures: 6 relabelled or resolved, 2 of these in the test set, 5 confirmed" in out
    assert decided["macro recall"] == ["70.0", "%", "70.0", "%"]  # as scraped, as decided
    assert "1 picture, for someone to handle: reports/escalations.csv" in out
    assert "make ui" in out


def test_summary_says_that_a_weak_models_suspicions_are_weak(nsfw, finished):
    assert "weak" not in nsfw("summary")[1]
    write_json({"pictures": 50, "contradicted": 16}, paths.METRICS / "audit.json")
    assert "the model contradicts 32 % of all labels: it is weak, and so are its suspicions" in nsfw("summary")[1]


def test_summary_as_json(nsfw, finished):
    code, out, _ = nsfw("summary", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["sighted"], document["kept"], document["test_pictures"], document["suspicious_labels"]) == (
        60,
        50,
        40,
        2,
    )
    assert document["frozen"]["recall"] == {"drawings": None, "porn": 0.25}
    assert document["finetuned"]["unsafe"]["recall"] == 0.75
    assert document["model"] == finished


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
        ["ingest", "folder", "x", "--max-mb", "99999999999999999999"],
        ["import-model", "x", "--max-mb", "99999999999999999999"],
        ["import-model", "x", "--name", "../x"],
        ["import-weights", "x", "x.weights.h5", "--alpha", "nan"],
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


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("build/registered.json", "[]"),
        ("build/registered.json", '{"pending": false}'),
        ("metrics/evaluate.json", '{"frozen": 3}'),
        ("metrics/validate.json", '{"sighted": 3}'),
        ("metrics/dedupe.json", ""),
        ("metrics/split.json", '{"a'),
        ("metrics/audit.json", '{"pictures": 3}'),
        ("reports/label_issues.csv", ""),
    ],
)
def test_a_document_of_another_shape_is_one_line_that_names_it(nsfw, finished, file, text):
    Path(file).write_text(text)
    code, out, err = nsfw("summary")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {file} ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("truth", ["folder", "file/truth.csv"])
def test_where_the_truth_cannot_be_written_no_sample_is_drawn(nsfw, tmp_path, monkeypatch, truth):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    code, _, err = nsfw("sample", "--out", "new", "--truth", truth)
    assert code == 1
    assert err.startswith(f"error: {truth} ")
    assert not Path("new").exists()


def test_a_link_that_leads_back_to_itself_is_no_folder_to_ingest(nsfw, project):
    Path(".dvc").mkdir()
    Path("loop").symlink_to("loop")
    assert nsfw("ingest", "folder", "loop")[::2] == (
        1,
        "error: loop is not a folder. Give one that holds a folder for each label.\n",
    )


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
    assert done.stderr.startswith("usage: python -m pipeline {audit,catalog,code,cross_fit,dedupe,")
    assert len(done.stderr.splitlines()) == 1


def test_a_stage_tells_a_users_error_without_a_traceback(tmp_path):
    done = stage("split", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: params.yaml does not exist. Run this in the project's root.\n"


def test_help_comes_at_once_and_imports_nothing_heavy():
    code = """
import atexit, sys
sys.argv[1:] = ["--help"]
atexit.register(lambda: print(*sorted(sys.modules)))
from pipeline.cli.console import main
main()
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 20  # a second on an idle machine
    assert {"ingest", "export-backbone", "sync"} <= set(done.stdout.replace("│", " ").split())
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "typer" in loaded
    assert not loaded & {"tensorflow", "keras", "mlflow", "sklearn", "great_expectations", "matplotlib", "pandas"}


def test_a_gate_that_does_not_apply_takes_no_line_of_the_summary():
    gates = [
        {"gate": name, "status": status, "value": None, "limit": None, "reason": "because"}
        for name, status in (("leaks", "pass"), ("drop_recall", "n/a"), ("reports", "n/a"))
    ]
    _, head, *table = summary._gates({"gates": gates, "previous": None})
    assert head == "gates: none failed (against nothing in production)"
    assert [line.split()[0] for line in table] == ["leaks", "n/a"]
    assert table[-1].endswith(": drop_recall, reports")


def test_help_lists_the_commands_under_headings_in_the_order_of_work(nsfw, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = nsfw("--help")
    assert code == 0
    offsets = [out.index(f"─ {heading} ─") for heading in ("Pictures", "Models", "Search", "Serving")]
    assert offsets == sorted(offsets)
    assert "─ Commands ─" not in out  # each has its heading


def test_the_version(nsfw):
    code, out, _ = nsfw("--version")
    assert (code, out.split()[0]) == (0, "nsfw-pipeline")


def test_one_picture_of_the_sample_to_send(nsfw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = nsfw("sample", "--one", "picture.jpg")
    assert (code, [path.name for path in tmp_path.iterdir()]) == (0, ["picture.jpg"])
    assert "label porn" in out
    from pipeline.images.decode import decode

    assert decode(Path("picture.jpg").read_bytes()).format == "JPEG"
    first = Path("picture.jpg").read_bytes()
    nsfw("sample", "--one", "again.jpg")
    assert Path("again.jpg").read_bytes() == first


def test_the_sample_overwrites_no_ground_truth(nsfw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sample_truth.csv").write_text("mine")
    code, _, err = nsfw("sample")
    assert (code, Path("sample").exists()) == (1, False)
    assert "sample_truth.csv exists already" in err
    assert Path("sample_truth.csv").read_text() == "mine"


@pytest.mark.parametrize("option", ["--format", "--rescaling", "--channels", "--outputs"])
def test_import_model_says_what_an_option_may_be(nsfw, option):
    code, _, err = nsfw("import-model", "x", option, "other")
    assert code == 2
    assert "is not one of" in err
