import pandas as pd
import pytest
import yaml

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import read_json
from pipeline.stages import audit


@pytest.fixture
def issues(in_project):
    return pd.read_csv(paths.LABEL_ISSUES)


def test_they_are_ranked_by_score(issues):
    assert list(issues.columns) == ["sha256", "label", "suggested", "score", "rank"]
    assert issues["rank"].tolist() == list(range(1, len(issues) + 1))
    assert issues["score"].is_monotonic_increasing
    assert issues["score"].between(0, 1).all()
    assert (issues["label"] != issues["suggested"]).all()
    labels = pd.read_parquet(paths.SPLITS).set_index("sha256")["label"]
    assert issues["label"].tolist() == labels.loc[issues["sha256"]].tolist()


def test_the_planted_wrong_labels_come_first_with_the_right_suggestion(issues, in_project):
    first = issues.head(len(in_project.wrong))
    origins = in_project.origins().loc[first["sha256"]]
    assert set(origins) == in_project.wrong
    assert first["suggested"].tolist() == [origin.split("/")[1].split("-")[0] for origin in origins]


def test_the_counts_are_the_tables(issues):
    counts = read_json(paths.METRICS / "audit.json")
    assert counts["pictures"] == len(pd.read_parquet(paths.SPLITS))
    assert counts["contradicted"] == counts["suspicious"]
    assert counts["suspicious"] == len(issues) == sum(counts["by_label"].values()) == sum(counts["by_pair"].values())
    assert counts["by_label"] == issues["label"].value_counts().reindex(counts["by_label"], fill_value=0).to_dict()


def test_again_gives_the_same_bytes_and_no_more_rows_than_asked_for(project_copy):
    before = paths.LABEL_ISSUES.read_bytes()
    audit.main()
    assert paths.LABEL_ISSUES.read_bytes() == before
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["audit"]["max_rows"] = 2
    paths.PARAMS.write_text(yaml.safe_dump(document), encoding="utf-8")
    audit.main()
    assert paths.LABEL_ISSUES.read_bytes().splitlines() == before.splitlines()[:3]
    counts = read_json(paths.METRICS / "audit.json")
    assert (counts["suspicious"], counts["contradicted"]) == (2, len(before.splitlines()) - 1)


def test_a_weak_models_suspicions_are_said_to_be_weak(project_copy, monkeypatch, caplog):
    splits = pd.read_parquet(paths.SPLITS)
    shuffled = splits["label"].sample(frac=1, random_state=3).to_numpy()
    splits.assign(label=shuffled).to_parquet(paths.SPLITS)
    audit.main()
    assert "it is weak, and so are its suspicions" in caplog.text


def test_more_folds_than_clusters_are_refused(project_copy, monkeypatch):
    splits = pd.read_parquet(paths.SPLITS)
    splits.assign(cluster=splits["label"]).to_parquet(paths.SPLITS)
    with pytest.raises(UserError, match=r"audit\.folds is 5, but there are 3 clusters"):
        audit.main()
