import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.core import paths
from pipeline.core.errors import StopRequestedError, UserError
from pipeline.core.files import read_json
from pipeline.evaluation import label_tables
from pipeline.stages import audit, cross_fit
from pipeline.training import both_stages


@pytest.fixture
def issues(in_project):
    return pd.read_csv(paths.LABEL_ISSUES)


def first_origins(project):
    return project.origins().groupby(level=0).first()


def test_they_are_ranked_by_score(issues):
    assert list(issues.columns) == list(label_tables.ISSUES)
    assert issues["rank"].tolist() == list(range(1, len(issues) + 1))
    assert issues["score"].is_monotonic_increasing
    assert issues["score"].between(0, 1).all()
    assert (issues["label"] != issues["suggested"]).all()
    splits = pd.read_parquet(paths.SPLITS).set_index("sha256").loc[issues["sha256"]]
    for column in ("label", "split", "cluster"):
        assert issues[column].tolist() == splits[column].tolist()
    assert set(issues["source"]) == {"test"}
    for _, pair in issues.groupby(["label", "suggested"]):
        assert pair["pair_rank"].tolist() == list(range(1, len(pair) + 1))


def test_every_pictures_support_is_in_a_table(issues, in_project):
    table = pd.read_parquet(paths.LABEL_QUALITY)
    splits = pd.read_parquet(paths.SPLITS)
    assert sorted(table["sha256"]) == sorted(splits["sha256"])
    names = sorted({"drawings", "neutral", "porn"})
    probabilities = table[[f"p_{name}" for name in names]]
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    given = [row[f"p_{row['label']}"] for row in table.to_dict("records")]
    assert np.allclose(table["score"], given, atol=1e-6)
    contradicted = table[table["kind"] != ""]
    assert set(contradicted["sha256"]) == set(issues["sha256"])
    assert table["agreement"].between(0, 1).all()
    wrong = table["sha256"].map(first_origins(in_project)).isin(in_project.wrong)
    assert table.loc[wrong, "agreement"].max() < table.loc[~wrong, "agreement"].median()


def test_the_estimated_noise_covers_what_was_planted(issues, in_project):
    table = pd.read_csv(paths.LABEL_NOISE)
    everything = table[table["by"] == "all"].iloc[0]
    planted = pd.read_parquet(paths.SPLITS)["sha256"].map(first_origins(in_project)).isin(in_project.wrong).mean()
    assert everything["low"] <= planted <= everything["high"]
    for by, parts in table.groupby("by"):
        assert parts["pictures"].sum() == everything["pictures"], by
        assert parts["flagged"].sum() == everything["flagged"], by


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
    assert sum(counts["by_split"].values()) == sum(counts["by_kind"].values()) == len(issues)
    assert counts["expected_by_hundred"] == [min(len(issues), counts["estimated_wrong"])]
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


def judged_by_trainings(**more):
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["finetune"]["unfreeze"] = "none"  # half the time
    document["audit"] |= {"judge": "fine_tuning", "folds": 2} | more
    paths.PARAMS.write_text(yaml.safe_dump(document), encoding="utf-8")


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("repeats", "killed", "offsets"),
    [(1, 2, [0, 1, 1]), pytest.param(2, 3, [0, 1, 2, 2, 3], marks=pytest.mark.rare)],
)
def test_whole_trainings_judge_and_a_killed_audit_goes_on(project_copy, monkeypatch, repeats, killed, offsets):
    judged_by_trainings(repeats=repeats)
    trained = []
    whole = both_stages.train

    def train(params, data, report, **more):
        trained.append((params.seed, len(data.labels)))
        if len(trained) == killed:
            raise StopRequestedError("killed in the midst of a training")
        return whole(params, data, report, **more)

    monkeypatch.setattr(both_stages, "train", train)
    with pytest.raises(StopRequestedError):
        cross_fit.main()
    cross_fit.main()
    audit.main()
    seeds = [seed for seed, _ in trained]
    assert [seed - seeds[0] for seed in seeds] == offsets
    pictures = len(pd.read_parquet(paths.SPLITS))
    finished = [count for number, (_, count) in enumerate(trained, 1) if number != killed]
    assert [sum(finished[2 * repeat : 2 * repeat + 2]) for repeat in range(repeats)] == [pictures] * repeats
    first = paths.LABEL_ISSUES.read_bytes(), paths.LABEL_QUALITY.read_bytes()
    cross_fit.main()  # from the cache
    audit.main()
    assert len(trained) == len(offsets)
    assert (paths.LABEL_ISSUES.read_bytes(), paths.LABEL_QUALITY.read_bytes()) == first


def test_a_features_file_has_nothing_to_fine_tune(project_copy):
    judged_by_trainings()
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["backbone"] |= {"name": "features_file", "weights": "features.onnx", "alpha": 1.0, "rescaling": "unit"}
    document["finetune"]["unfreeze"] = "none"
    paths.PARAMS.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"audit\.judge is fine_tuning, but a features file has no layers"):
        cross_fit.main()


def test_what_was_judged_of_other_pictures_is_refused(project_copy):
    judged_by_trainings()  # and `cross_fit` has not run since
    with pytest.raises(UserError, match=r"cross_fit\.parquet is of other pictures"):
        audit.main()
