"""A whole project from a scrape to a registered model, by the commands that a person types."""

import base64
import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from pipeline.serving.decision import Decision
from tests.support.system_helpers import DEAD, make

pytestmark = pytest.mark.slow

TABLES = {"code", "catalog", "validate", "dedupe", "split", "pack"}
STAGES = TABLES | {"embed", "train", "finetune", "evaluate", "cross_fit", "audit", "register"}


def test_it_runs_to_its_end_though_mlflow_is_dead(whole_run):
    project, done = whole_run
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert sorted(project.ran(done)) == sorted(STAGES)
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert "UserWarning" not in done.stderr
    registered = json.loads((project.root / "build/registered.json").read_text(encoding="utf-8"))
    assert (registered["pending"], registered["version"]) == (True, None)


def test_each_stage_says_what_it_did_and_tensorflow_nothing(whole_run):
    _, done = whole_run
    lines = done.stderr.splitlines()
    assert [line for line in lines if re.search(r"^[IWEF]\d{4} |absl|[Cc][Uu][Dd][Aa]|oneDNN", line)] == []
    assert {stage for stage in STAGES if any(line.startswith(f"INFO {stage}: ") for line in lines)} == STAGES
    assert len(lines) <= 24


def test_dvc_shows_few_metrics_recall_first_and_the_plots_without_a_network(whole_run):
    project, _ = whole_run
    header = project.run("python", "-m", "dvc", "metrics", "show", "--md").stdout.splitlines()[0]
    columns = [name.strip() for name in header.strip("|").split("|")]
    assert 10 <= len(columns) <= 15
    assert columns[:3] == ["Path", "recall.macro", "recall.unsafe"]
    page = project.run("python", "-m", "dvc", "plots", "show").stdout.strip()
    browser = shutil.which("chromium") or pytest.skip("no chromium")
    nowhere = ("--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=8000", "--dump-dom")
    shown = project.run(browser, "--headless=new", "--no-sandbox", *nowhere, page).stdout
    assert (shown.count('src="static/'), shown.count("<canvas")) == (2, 4)


def test_every_broken_file_is_quarantined_and_no_sound_one(whole_run, sample):
    project, _ = whole_run
    truth = pd.read_csv(sample[1], keep_default_na=False)
    quarantine = pd.read_csv(project.root / "build/quarantine.csv", keep_default_na=False)
    assert set(quarantine["origin"]) == set(truth.loc[truth["kind"] == "broken", "path"])
    assert quarantine["reason"].str.contains(r"^[a-z_]+: .").all()


def test_git_ignores_all_that_a_run_makes(whole_run):
    project, _ = whole_run
    status = project.run("git", "status", "--porcelain").stdout.split("\n")
    assert sorted(line[3:] for line in status if line) == ["data.dvc", "dvc.lock"]


def test_a_second_run_runs_no_stage(whole_run):
    project, _ = whole_run
    assert project.ran(project.repro(mlflow=DEAD)) == []


@pytest.fixture
def restored(whole_run):
    """The project, whose source and params are put back after the test."""
    project, _ = whole_run
    contents = {path: path.read_bytes() for path in (project.root / "params.yaml", project.root / "dvc.lock")}
    yield project
    for path, content in contents.items():
        path.write_bytes(content)


def test_another_dropout_reruns_train_and_what_follows(restored):
    restored.change("train", dropout=[0.4, 0.25])
    # As far as can be known before they have run: finetune may build the head anew, so it reads the same key.
    assert set(restored.ran(restored.repro("--dry"))) == {"train", "finetune", "cross_fit"}
    follows = restored.ran(restored.repro("--dry", "--force", "--downstream", "train"))
    assert sorted(follows) == ["evaluate", "finetune", "register", "train"]


def test_what_becomes_known_of_a_source_reaches_evidence_and_card(restored):
    pointer = restored.root / "data.dvc"
    before, about = pointer.read_bytes(), restored.root / "data/sources/test-scrape.yaml"
    try:
        about.parent.mkdir()
        about.write_text("licence: CC0\ncollected: drawn\n", encoding="utf-8")
        restored.run("python", "-m", "dvc", "add", "--quiet", "data")
        assert set(restored.ran(restored.repro("--dry"))) == {"evaluate"}
    finally:
        shutil.rmtree(about.parent)
        pointer.write_bytes(before)


RESULT_NEUTRAL = (
    *("pipeline/service/logs.py", "pipeline/cli/console.py", "pipeline/core/errors.py", "pipeline/params/serve.py"),
    *("pipeline/tracking/publish.py", "pipeline/model/weights/another.h5"),
)


CHANGED_OPERATORS = (
    (("pipeline/evaluation/label_issues.py", "pipeline/serving/classifier.py"), {"audit", "register"}),
    (("pipeline/model/warp_layer.py",), {"finetune", "cross_fit"}),
    (("pipeline/training/fit.py",), {"train", "finetune", "cross_fit"}),
    (RESULT_NEUTRAL, set()),
)


def test_a_changed_operator_makes_stale_what_depends_on_it_and_a_comment_nothing(restored):
    names = [name for modules, _ in CHANGED_OPERATORS for name in modules]
    before = {path: path.read_bytes() if path.exists() else None for path in (restored.root / name for name in names)}

    def stale(change: bytes, *modules: str) -> set[str]:
        """The stages that would run after an addition to these modules alone."""
        for path, content in before.items():
            added = change if str(path.relative_to(restored.root)) in modules else b""
            path.write_bytes((content or b"") + added)
        assert restored.ran(restored.repro("code")) == ["code"]
        return set(restored.ran(restored.repro("--dry")))

    try:
        assert stale(b"# A comment.\n", *names) == set()
        for modules, stages in CHANGED_OPERATORS:
            assert stale(b"_CHANGED = 1 + 1\n", *modules) == stages, modules
    finally:
        for path, content in before.items():
            path.unlink() if content is None else path.write_bytes(content)
        restored.repro("code")


def test_another_copy_makes_the_same_tables(whole_run, sample, tiny_weights, tmp_path):
    project, _ = whole_run
    other = make(tmp_path / "other", sample[0], tiny_weights)
    other.repro("pack", mlflow=DEAD)
    ours, theirs = project.locked(), other.locked()
    assert set(theirs) == TABLES
    for name in TABLES - {"validate"}:  # whose Data Docs tell when they were made
        assert theirs[name] == ours[name]
    assert theirs["validate"]["metrics/validate.json"] == ours["validate"]["metrics/validate.json"]
    pointers = [yaml.safe_load((copy.root / "data.dvc").read_text(encoding="utf-8")) for copy in (project, other)]
    assert pointers[0] == pointers[1]


def test_sync_publishes_all_that_mlflow_has_missed(synced):
    project, done = synced
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert all(record["complete"] for record in report["records"])
    assert (report["registration"]["version"], report["registration"]["pending"]) == (1, False)
    again = json.loads(project.nsfw("sync", "--json").stdout)
    assert {record["run_id"] for record in again["records"]} == {record["run_id"] for record in report["records"]}
    assert again["registration"]["version"] == 1


_SERVE = """
import base64, json, sys
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/nsfw@challenger")
pictures = [base64.b64decode(line) for line in sys.stdin]
answer = model.predict(pd.DataFrame({"image": pictures}))
import pipeline
print(json.dumps({"answer": answer.to_dict("records"), "package": pipeline.__file__}))
"""


def test_the_registered_model_answers_in_a_clean_process_elsewhere(synced, sample, tmp_path):
    project, _ = synced
    predictions = pd.read_parquet(project.root / "build/predictions.parquet")
    sightings = pd.concat(pd.read_parquet(path) for path in (project.root / "data/sightings").glob("*.parquet"))
    jpegs = sightings[sightings["origin"].str.endswith(".jpg")].drop_duplicates("sha256")
    origins = jpegs.set_index("sha256")["origin"]
    known = predictions[predictions["sha256"].isin(origins.index)].head(4)
    pictures = [(sample[0] / origins[content]).read_bytes() for content in known["sha256"]] + [b"not a picture"]
    done = subprocess.run(
        [sys.executable, "-c", _SERVE, f"sqlite:///{project.root}/mlflow.db"],
        input="\n".join(base64.b64encode(data).decode() for data in pictures),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers = json.loads(done.stdout.splitlines()[-1])["answer"]
    decision = Decision.from_evidence(json.loads((project.root / "build/evidence/evidence.json").read_text()))
    calibrated = decision.probabilities(known[[f"p_{label}" for label in decision.labels]].to_numpy())
    for answer, wanted in zip(answers, calibrated, strict=False):
        assert answer["error"] == ""
        assert [answer[label] for label in decision.labels] == pytest.approx(wanted.tolist(), abs=2e-3)
        assert answer["threshold"] == pytest.approx(decision.threshold)
    assert answers[-1]["error"].startswith("not_a_picture")


def test_the_first_tour_reads_what_was_made(synced):
    project, _ = synced
    summary = json.loads(project.nsfw("summary", "--json").stdout)
    quarantined = len(pd.read_csv(project.root / "build/quarantine.csv"))
    assert summary["quarantined"] == quarantined
    assert summary["exact_copies"] > 0
    shown = project.run("python", "-m", "dvc", "metrics", "show", "--json").stdout
    assert str(summary["finetuned"]["accuracy"])[:6] in shown


def test_a_truncated_table_ends_in_one_message(whole_run, tmp_path):
    project, _ = whole_run
    copy = tmp_path / "copy"
    for name in ("pipeline", "build/deduped.parquet", "params.yaml"):
        source, target = project.root / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    path = copy / "build/deduped.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "split"], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "error: build/deduped.parquet is not a readable parquet file" in done.stderr
    assert "Traceback" not in done.stderr
    assert [file.name for file in (copy / "build").iterdir()] == ["deduped.parquet"]
