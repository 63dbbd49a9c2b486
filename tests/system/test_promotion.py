"""The second tour, in a whole project, by the commands that a person types."""

import json

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judged(synced):
    """The challenger's gate table. The model learned nothing in two epochs, so some of them fail."""
    project, _ = synced
    done = project.nsfw("gates", "--json", check=False)
    return project, done, json.loads(done.stdout)


def test_the_version_that_sync_registered_has_its_evidence(judged):
    project, done, outcome = judged
    rows = {row["gate"]: row for row in outcome["gates"]}
    assert (outcome["version"], outcome["previous"], outcome["done"]) == (1, None, False)
    assert rows["evidence"]["status"] == "pass", rows["evidence"]
    assert rows["finished"]["status"] == "pass"
    measured = json.loads((project.root / "metrics/evaluate.json").read_text(encoding="utf-8"))
    assert rows["unsafe_recall"]["value"] == measured["finetuned"]["unsafe"]["recall"]
    assert done.returncode == (1 if outcome["failed"] else 0)


@pytest.mark.rare  # test_readme.py types a longer one
def test_the_tour(judged):
    project, _, outcome = judged
    wanted = [word for gate in outcome["failed"] for word in ("--override", gate)]
    if outcome["failed"]:
        refused = project.nsfw("promote", "--reason", "first", check=False)
        assert refused.returncode == 1
        assert "refused: " in refused.stdout
        assert all(gate in refused.stdout for gate in outcome["failed"])
    promoted = project.nsfw("promote", *wanted, "--reason", "the first there is")
    assert "promoted: nsfw - -> 1" in promoted.stdout
    history = json.loads(project.nsfw("history", "--json").stdout)
    assert (history["production"], history["alias"], history["findings"]) == (1, {"production": 1}, [])
    (entry,) = history["entries"]
    assert entry["draft"]["reason"] == "the first there is"
    assert entry["draft"]["overrides"] == outcome["failed"]
    assert "version 1 of nsfw is loaded" in project.nsfw("verify").stdout
    back = project.nsfw("rollback", "--reason", "x", check=False)
    assert (back.returncode, "nothing was in production before version 1" in back.stderr) == (1, True)
    traced = json.loads(project.nsfw("trace", "production", "--json").stdout)
    assert traced["commit"] == project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert f"git checkout {traced['commit']}" in traced["commands"]
    summary = project.nsfw("summary").stdout
    assert "version 1 in production" in summary


def test_the_scheduled_rebuild_ends_with_the_gates_and_never_promotes(judged):
    project, _, outcome = judged
    history = project.nsfw("history", "--json").stdout
    lines = project.run("bash", ".ci/rebuild").stdout.splitlines()
    (head,) = [number for number, line in enumerate(lines) if f"version {outcome['version']} against" in line]
    assert lines[head + 1].startswith("gates: ")
    assert len([line for line in lines[head + 2 :] if line.startswith("  ")]) == len(outcome["gates"])
    assert "run records are complete in MLflow" in "\n".join(lines)
    assert project.nsfw("history", "--json").stdout == history


def test_measuring_on_a_folder_of_pictures(judged, sample, tmp_path):
    project, _, _ = judged
    safe = tmp_path / "traffic" / "neutral"
    safe.mkdir(parents=True)
    names = sorted(path for path in (sample[0] / "neutral").iterdir() if path.suffix == ".jpg")[:12]
    for path in names:
        (safe / path.name).write_bytes(path.read_bytes())
    (safe / "broken.jpg").write_bytes(b"no picture")
    measurement = json.loads(project.nsfw("measure", str(safe.parent), "--version", "1", "--json").stdout)
    assert sum(measurement["unreadable"].values()) >= 1
    assert measurement["pictures"] + sum(measurement["unreadable"].values()) == len(names) + 1
    counts = measurement["said"]["neutral"]
    assert sum(counts.values()) == measurement["pictures"]
    unsafe = sum(counts[name] for name in ("hentai", "porn", "sexy"))
    assert measurement["flagged"][0]["rate"] == pytest.approx(unsafe / measurement["pictures"])
    wrong = project.nsfw("measure", str(tmp_path), check=False)
    assert wrong.returncode == 1
    assert "its folders must be labels" in wrong.stderr
