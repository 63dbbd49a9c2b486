"""What the documents name is there."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", link):
            assert (document.parent / link).exists(), link


def test_each_document_is_in_the_index():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "index.md" or f"]({path.name})" in index, path.name


def test_what_architecture_names_is_there():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`(pipeline/[\w./]+|tests/[\w./]+|params\.yaml|dvc\.yaml)`", text)
    assert len(named) > 15
    for name in named:
        assert "NAME" in name or (ROOT / name).exists(), name


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("how a JPEG is decoded", "pipeline/images/decode.py"),
        ("a gate", "pipeline/promotion/gates.py"),
        ("a source of labels", "pipeline/data/annotation_files.py"),
        ("the course of the learning rate", "pipeline/model/schedule.py"),
        ("a metric in MLflow", "pipeline/evaluation/recall.py"),
    ],
)
def test_a_newcomer_is_told_where_to_change_what(question, answer):
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {question} |")]
    assert answer in row
    assert (ROOT / answer).is_file()


def test_hooks_and_ci_call_the_same_targets():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert hooks["repos"][0]["hooks"][0]["entry"] == "make lint"
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert ".ci/run" in [step.get("run") for step in jobs["ci"]["steps"]]
