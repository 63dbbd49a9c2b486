"""The command: its exit codes, its page, its run in MLflow, its sample."""

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.support.score_tables import probabilities, scores, table, write

RARE = (0.25, 0.7, 0.05)


@pytest.fixture
def work(project, monkeypatch):
    """A project with scores of a time and of two later ones, the second of another mix."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    scores(Path("march.parquet"), 800, 1, RARE)
    scores(Path("april.csv"), 800, 2, RARE, unreadable={"broken": 3})
    scores(Path("may.jsonl"), 800, 3, (0.2, 0.5, 0.3))
    return project


def test_no_drift_is_exit_0_and_drift_exit_1_with_lines_a_page_and_a_run(work, nsfw):
    code, out, _ = nsfw("monitor", "--reference", "march.parquet", "--window", "april.csv")
    assert (code, "no drift" in out) == (0, True)
    code, out, _ = nsfw(
        "monitor", "--reference", "march.parquet", "--window", "april.csv", "--window", "may.jsonl", "--json"
    )
    assert code == 1
    document = json.loads(out)
    drifted = [[row["drifted"] for row in window["comparisons"]] for window in document["windows"]]
    assert [any(rows) for rows in drifted] == [False, True]
    page = Path(document["page"]).read_text(encoding="utf-8")
    assert "may has drifted." in page
    assert "april has drifted." not in page
    assert "<script" not in page
    client = MlflowClient(f"sqlite:///{work}/mlflow.db")
    run = client.get_run(document["run_id"])
    assert (run.data.tags["nsfw.kind"], run.info.status) == ("monitor", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "unsafe_decisions")
    assert [point.step for point in history] == [0, 1]
    assert history[1].value > history[0].value + 0.1
    assert {entry.path for entry in client.list_artifacts(run.info.run_id)} >= {"monitor.html"}


def test_slices_of_a_csv_and_of_folders_are_compared(work, nsfw):
    answers, _ = probabilities(800, 5, RARE)
    answers[1::2] = probabilities(400, 6, (0.1, 0.2, 0.7))[0]
    for name, numbers, seed in (("a", probabilities(800, 4, RARE)[0], 4), ("b", answers, 5)):
        write(table(numbers, seed, folders=("day", "night")), Path(f"{name}.parquet"))
    code, out, _ = nsfw("monitor", "--reference", "a.parquet", "--window", "b.parquet", "--by-folder")
    assert (code, " in night: " in out, " in day: " in out) == (1, True, False)
    known = pd.concat([pd.read_parquet(f"{name}.parquet") for name in "ab"])
    known.assign(slice=[Path(path).parent.name for path in known["path"]])[["sha256", "slice"]].to_csv(
        "slices.csv", index=False
    )
    again = nsfw("monitor", "--reference", "a.parquet", "--window", "b.parquet", "--slices", "slices.csv")
    assert again == (code, out, again[2])


def test_a_sample_is_drawn_labelled_and_estimated_and_never_overwritten(work, nsfw):
    options = ("monitor", "--reference", "march.parquet", "--window", "april.csv", "--audit-sample", "100")
    code, out, _ = nsfw(*options)
    assert (code, "next: fill in its column label" in out) == (0, True)
    path = Path("reports/audit_sample.csv")
    sample = pd.read_csv(path, dtype=str, keep_default_na=False)
    sample.assign(label=["porn" if one == "unsafe" else "safe" for one in sample["decision"]]).to_csv(path, index=False)
    code, out, _ = nsfw("monitor", "--audited", path)
    assert (code, "unsafe recall 100.00 % " in " ".join(out.split()) + " ") == (0, True)
    result = json.loads(nsfw("monitor", "--audited", path, "--json")[1])
    assert result["pictures"] == 800
    assert result["recall"]["interval"][0] < 1.0
    before = path.read_bytes()
    code, _, err = nsfw(*options)
    assert (code, "may hold people's labels" in err, path.read_bytes() == before) == (1, True, True)


def test_a_server_that_does_not_answer_costs_a_line_and_sync_publishes_it(work, nsfw, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, out, _ = nsfw("monitor", "--reference", "march.parquet", "--window", "april.csv")
    assert (code, "does not answer" in out, "`nsfw sync` publishes it" in out) == (0, True, True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert nsfw("sync")[0] == 0
    (run,) = MlflowClient(f"sqlite:///{work}/mlflow.db").search_runs(["1"])
    assert run.data.metrics["pictures"] == 800


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "it needs --reference and --window"),
        (("--reference", "march.parquet"), 2, "it needs --reference and --window"),
        (("--audited", "a.csv", "--window", "april.csv"), 2, "stands alone"),
        (("--reference", "march.parquet", "--window", "gone.csv"), 1, "gone.csv is no file"),
        (("--reference", "march.parquet", "--window", "params.yaml"), 1, "params.yaml is no table of scores"),
        (("--audited", "gone.csv"), 1, "gone.csv"),
        (("--reference", "march.parquet", "--window", "other.csv"), 1, "has the classes drawings, neutral, sexy"),
    ],
)
def test_wrong_usage_and_bad_tables_are_one_message(work, nsfw, arguments, code, words):
    other = ("drawings", "neutral", "sexy")
    write(table(probabilities(30, 2)[0], 2, labels=other), Path("other.csv"), other)
    left, _, err = nsfw("monitor", *arguments)
    assert (left, words in " ".join(err.replace("│", " ").split()), "Traceback" in err) == (code, True, False)
    assert not Path("reports/monitor.html").exists()
