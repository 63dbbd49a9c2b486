import pandas as pd
import pytest
from pictures import LABELS, sha

from pipeline import decisions, files, paths, tables
from pipeline.errors import UserError
from pipeline.ingest import sightings
from pipeline.stages import dedupe

A, B, C, D = (sha(name) for name in "abcd")
CATALOG = pd.DataFrame({"sha256": [A, B, C], "labels": [["porn"], ["neutral", "sexy"], ["sexy"]]})
HEADER = ",".join(decisions.COLUMNS)


def sighting(sha256, label, origin, status="stored"):
    fixed = {"source": "batch", "fetched_at": pd.Timestamp("2026-01-01", tz="UTC"), "bytes": 1, "reason": ""}
    return fixed | {"sha256": sha256, "label": label, "origin": origin, "status": status}


SEEN = sightings.frame(
    [
        sighting(A, "porn", "porn/1"),
        sighting(A, "porn", "porn/2"),
        sighting(B, "neutral", "neutral/1"),
        sighting(B, "sexy", "sexy/1"),
        sighting(C, "sexy", "sexy/2"),
        sighting(D, "sexy", "sexy/broken"),
        sighting(D, "sexy", "sexy/broken again"),
        sighting(None, "sexy", "sexy/refused", "refused"),
    ]
)


def decide(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{sha256},porn,{label},ann,,2026-01-02,7" for sha256, label in rows]
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return decisions.load_decisions(path, LABELS)


def resolved(tmp_path, *rows):
    return dedupe.resolve(CATALOG, decide(tmp_path / "decisions.csv", *rows))


def test_a_content_under_two_labels_is_a_conflict_and_never_settled_by_the_machine(tmp_path):
    found = resolved(tmp_path)
    assert dedupe.deduplicate(found).to_numpy().tolist() == [[A, "porn", A], [C, "sexy", C]]
    assert dedupe.conflicts(found).to_numpy().tolist() == [[B, B, "neutral"], [B, B, "sexy"]]


def test_a_decision_settles_a_conflict_relabels_and_drops(tmp_path):
    found = resolved(tmp_path, (B, "neutral"), (A, "drop"), (C, "hentai"))
    assert dedupe.deduplicate(found).to_numpy().tolist() == [[B, "neutral", B], [C, "hentai", C]]
    assert dedupe.conflicts(found).empty


def test_the_last_row_of_a_picture_wins(tmp_path):
    found = resolved(tmp_path, (A, "drop"), (C, "drop"), (A, "sexy"), (A, "porn"))
    assert dedupe.deduplicate(found).to_numpy().tolist() == [[A, "porn", A]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((B, "cats"), ["line 3", "'cats'", "drawings, hentai, neutral, porn, sexy or drop"]),
        (("abc", "porn"), ["line 3", "'abc'", "64"]),
    ],
)
def test_a_row_that_decides_nothing_is_named_by_its_line(tmp_path, row, words):
    with pytest.raises(UserError) as caught:
        decide(tmp_path / "decisions.csv", (A, "drop"), row)
    for word in [str(tmp_path / "decisions.csv"), *words]:
        assert word in str(caught.value)


def test_every_file_after_the_first_of_a_usable_content_is_a_copy(tmp_path):
    found = dedupe.deduplicate(resolved(tmp_path))
    copies = dedupe.duplicates(SEEN, found, CATALOG)
    assert copies.sort_values("origin")["origin"].tolist() == ["porn/2", "sexy/1"]  # broken ones are nobody's copies
    kept = copies.set_index("origin")["kept"]
    assert kept["porn/2"] == A
    assert pd.isna(kept["sexy/1"])  # a conflict: nothing stands for it
    assert set(copies["kind"]) == {"exact"}


def test_a_run_writes_its_tables_and_counts_twice_the_same(project):
    tables.write_parquet(CATALOG, paths.CATALOG)
    tables.write_parquet(SEEN, paths.SIGHTINGS / "0001-batch.parquet")
    decide(paths.DECISIONS, (C, "neutral"))
    dedupe.main()
    outs = [paths.DEDUPED, paths.DUPLICATES, paths.CONFLICTS, paths.METRICS / "dedupe.json"]
    first = [path.read_bytes() for path in outs]
    assert files.read_json(paths.METRICS / "dedupe.json") == {
        "kept": 2, "kept_by_label": {"neutral": 1, "porn": 1}, "exact_copies": 2, "conflicts": 1, "decisions": 1,
    }  # fmt: skip
    assert tables.read_parquet(paths.DEDUPED, ["sha256", "label", "cluster"])["label"].tolist() == ["porn", "neutral"]
    dedupe.main()
    assert [path.read_bytes() for path in outs] == first
