import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import files, paths, tables
from pipeline.core.errors import UserError
from pipeline.data import annotation_files, cluster_origins, sightings
from pipeline.params.root import load_params
from pipeline.params.split import Fractions
from pipeline.stages import split
from tests.support.pictures import LABELS, sha

pytestmark = pytest.mark.untraced

FRACTIONS = Fractions(train=0.7, val=0.15, test=0.15)
clusters = st.lists(st.integers(0, 10_000).map(str), unique=True, min_size=1, max_size=60)
shares = st.tuples(st.integers(1, 50), st.integers(1, 30), st.integers(0, 30)).map(
    lambda parts: Fractions(train=parts[0] / sum(parts), val=parts[1] / sum(parts), test=parts[2] / sum(parts))
)


def assign(names, fractions=FRACTIONS, **options):
    return split.assign(pd.Series(names, dtype="str"), fractions, salt=options.pop("salt", "s"), **options)


@settings(deadline=None, max_examples=60)
@given(clusters, clusters, shares)
def test_growing_data_moves_nothing_and_order_does_not_matter(old, new, fractions):
    before = dict(zip(old, assign(old, fractions), strict=True))
    everything = sorted({*old, *new})
    after = dict(zip(everything, assign(everything, fractions), strict=True))
    assert {name: after[name] for name in old} == before


@settings(deadline=None, max_examples=60)
@given(clusters, shares, st.floats(0.01, 0.5))
def test_a_growing_test_fraction_never_takes_from_test(names, fractions, more):
    grown = Fractions(
        train=fractions.train * (1 - more), val=fractions.val * (1 - more), test=1 - (1 - fractions.test) * (1 - more)
    )
    before, after = assign(names, fractions), assign(names, grown)
    assert (after[before == "test"] == "test").all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40), shares, st.sets(st.sampled_from("abcdefgh")))
def test_no_cluster_straddles_and_what_is_held_out_is_test(names, fractions, held_out):
    splits = assign(names, fractions, held_out=held_out)
    split.check_no_cluster_straddles(pd.DataFrame({"cluster": names, "split": splits}))
    assert all(splits[index] == "test" for index, name in enumerate(names) if name in held_out)
    free = assign(names, fractions)
    assert all(splits[index] == free[index] for index, name in enumerate(names) if name not in held_out)


def test_a_straddling_cluster_is_a_defect():
    with pytest.raises(AssertionError, match="a"):
        split.check_no_cluster_straddles(pd.DataFrame({"cluster": ["a", "a", "b"], "split": ["train", "val", "val"]}))


def test_fractions_are_met_and_another_salt_is_another_test_set():
    names = [sha(str(number)) for number in range(20_000)]
    splits = assign(names)
    share = splits.value_counts(normalize=True)
    assert share["train"] == pytest.approx(0.7, abs=0.015)
    assert share["val"] == pytest.approx(0.15, abs=0.01)
    both = (splits == "test") & (assign(names, salt="other") == "test")
    assert both.mean() == pytest.approx(0.15**2, abs=0.005)  # two independent draws


DEDUPED = pd.DataFrame({"sha256": list("abcd"), "label": "porn", "cluster": ["1", "1", "2", "3"]})
SEEN = pd.DataFrame({"sha256": ["a", "c", None, "d"], "source": ["web", "held-out", "held-out", "web"]})


def test_a_test_batch_takes_its_whole_clusters_to_test_and_a_report_is_about_one_too():
    assert cluster_origins.held_out_clusters(DEDUPED, SEEN, ["held-out"]) == {"2"}
    assert cluster_origins.held_out_clusters(DEDUPED, SEEN, []) == set()
    assert cluster_origins.clusters_of(DEDUPED, {"b", "unknown"}) == {"1"}


def test_what_came_in_with_reports_alone_is_told_from_what_was_scraped_too():
    seen = pd.DataFrame({"sha256": list("abccd"), "source": ["web", *["reports-2026-01-02"] * 3, "reports-all"]})
    assert cluster_origins.clusters_by_reports_alone(DEDUPED, seen) == {"2"}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40), shares, st.sets(st.sampled_from("abcdefgh")))
def test_a_report_moves_its_cluster_out_of_training_and_never_changes_the_test_set(names, fractions, reported):
    before, after = assign(names, fractions), assign(names, fractions, reported=reported)
    split.check_no_cluster_straddles(pd.DataFrame({"cluster": names, "split": after}))
    assert ((after == "test") == (before == "test")).all()
    for name, was, now in zip(names, before, after, strict=True):
        assert now == ("regression" if name in reported and was != "test" else was)
    alone = assign(names, fractions, reported=reported, by_reports_alone=reported)
    assert (alone[[name in reported for name in names]] == "regression").all()


def test_a_test_batch_that_nobody_ingested_is_named():
    with pytest.raises(UserError, match="names other, but data/ holds the batches held-out, web"):
        cluster_origins.held_out_clusters(DEDUPED, SEEN, ["other", "web"])


def test_a_class_too_small_to_split_is_named_with_its_numbers():
    splits = pd.DataFrame({"label": ["porn", "porn", "sexy"], "split": ["train", "test", "train"]})
    counts = split.count(splits, ["neutral", "porn", "sexy"])
    assert counts.to_numpy().tolist() == [[0, 0, 0], [1, 0, 1], [1, 0, 0]]
    with pytest.raises(UserError) as caught:
        split.check_enough(counts, 1)
    assert "neutral has 0 in train; neutral has 0 in val; porn has 0 in val" in str(caught.value)
    assert "sexy has 0 in test" in str(caught.value)
    assert "porn has 1" not in str(caught.value)
    split.check_enough(counts, 0)


COPY = sha("a near copy of porn0 that is not kept")


def write_inputs(per_label: int, report: str = "", tags: str = "") -> None:
    rows = [(sha(f"{label}{number}"), label) for label in LABELS for number in range(per_label)]
    deduped = pd.DataFrame(rows, columns=["sha256", "label"])
    tables.write_parquet(deduped.assign(cluster=deduped["sha256"]), paths.DEDUPED)
    copies = pd.DataFrame({"sha256": [COPY], "cluster": [sha("porn0")], "kept": [sha("porn0")]})
    tables.write_parquet(copies, paths.DUPLICATES)
    write_excluded()
    seen = deduped.assign(origin=deduped["sha256"], source="batch", bytes=1, status="stored", reason="")
    seen = seen.assign(fetched_at=pd.Timestamp("2026-01-01", tz="UTC"))
    tables.write_parquet(sightings.frame(seen.to_dict("records")), paths.SIGHTINGS / "0001-batch.parquet")
    paths.REPORTS.write_text(f"{','.join(annotation_files.REPORTS)}\n{report}", encoding="utf-8")
    paths.SLICES.write_text(f"sha256,slice\n{tags}", encoding="utf-8")


def write_excluded(*rows: tuple[str, str, str, str]) -> None:
    table = pd.DataFrame(list(rows), columns=["sha256", "cluster", "reason", "label"])
    tables.write_csv(table, paths.EXCLUDED)


def test_unsure_pictures_are_a_split_of_their_own_where_their_cluster_would_be_test(project):
    write_inputs(30)
    names = [sha(f"unsure{number}") for number in range(40)]
    rows = [(name, name, "unsure", "porn") for name in names]
    write_excluded(*rows, ("d" * 64, "d" * 64, "dropped", ""), (COPY, sha("porn0"), "unsure", ""))
    split.main()
    splits = tables.read_parquet(paths.SPLITS)
    unsure = splits[splits["split"] == "unsure"]
    fractions = load_params().split.fractions
    tested = split.assign(pd.Series(names), fractions, salt=load_params().split.salt)
    assert 0 < len(unsure) < 40
    assert unsure["sha256"].tolist() == [name for name, part in zip(names, tested, strict=True) if part == "test"]
    metrics = files.read_json(paths.METRICS / "split.json")
    assert metrics["unsure"] == len(unsure)
    assert sum(sum(counts.values()) for counts in metrics["pictures"].values()) == 150


def set_reports(value: str) -> None:
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["split"]["reports"] = value
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


@pytest.mark.parametrize("target", ["regression", "test"])
def test_a_run_splits_counts_and_takes_a_reported_picture_out_of_training(project, target):
    set_reports(target)
    write_inputs(30)
    split.main()
    splits = tables.read_parquet(paths.SPLITS)
    assert list(splits.columns) == ["sha256", "label", "cluster", "split"]
    metrics = files.read_json(paths.METRICS / "split.json")
    assert sum(n for counts in metrics["pictures"].values() for n in counts.values()) == len(splits) == 150
    assert all(sum(share.values()) == pytest.approx(1.0, abs=0.001) for share in metrics["share"].values())

    trained = splits.loc[splits["split"] == "train", "sha256"].iloc[0]
    write_inputs(30, f"{trained},porn,,T-1,2026-01-02\n")
    split.main()
    after = tables.read_parquet(paths.SPLITS).set_index("sha256")["split"]
    assert after[trained] == target
    counted = files.read_json(paths.METRICS / "split.json")["pictures"]
    assert sum(counted.get("regression", {}).values()) == (target == "regression")
    assert (after.drop(trained) == splits.set_index("sha256")["split"].drop(trained)).all()


def test_a_run_with_too_few_pictures_writes_nothing(project):
    write_inputs(1)
    with pytest.raises(UserError, match="too few pictures to split"):
        split.main()
    assert not paths.SPLITS.exists()


def test_a_near_copy_of_a_reported_picture_is_not_trained_on_either(project):
    write_inputs(30)
    split.main()
    assert tables.read_parquet(paths.SPLITS).set_index("sha256")["split"][sha("porn0")] == "train"
    write_inputs(30, f"{COPY},porn,,T-1,2026-01-02\n")
    split.main()
    assert tables.read_parquet(paths.SPLITS).set_index("sha256")["split"][sha("porn0")] == "regression"


def test_tags_on_pictures_of_no_split_are_counted_and_named(project, caplog):
    write_inputs(30, tags=f"{sha('porn1')},night\n{COPY},night\n{sha('nobody')},night\n")
    split.main()
    assert files.read_json(paths.METRICS / "split.json")["annotations"] == {
        "slices": {"rows": 3, "copy": 1, "unknown": 1}
    }
    assert f"line 3 ({COPY[:12]}): no effect: another picture of its cluster stands for it" in caplog.text
    assert f"line 4 ({sha('nobody')[:12]}): no effect: no file in data/sightings" in caplog.text


@pytest.mark.parametrize(("report", "tags"), [(f"{sha('porn1')},cats,,,\n", ""), ("", f"{sha('porn1')},night,\n")])
def test_a_wrong_row_of_people_stops_the_split_before_anything_is_trained(project, report, tags):
    write_inputs(30, report, tags)
    with pytest.raises(UserError, match=r"data/(reports|slices)\.csv is wrong:\n  line 2: "):
        split.main()
    assert not paths.SPLITS.exists()
