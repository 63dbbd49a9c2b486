"""Every catalogued picture is in exactly one of the tables; what people took out is listed with its reason."""

import pandas as pd
import pytest

from pipeline.duplicates import outcome
from pipeline.duplicates.label_resolution import resolve


def test_a_lost_picture_stops_the_run():
    catalog = pd.DataFrame({"sha256": ["a", "b"]})
    one, none = pd.DataFrame({"sha256": ["a"]}), pd.DataFrame({"sha256": []})
    copies = pd.DataFrame({"sha256": ["b"], "kind": ["near"]})
    outcome.check_nothing_lost(catalog, one, copies, none, none, none)
    with pytest.raises(AssertionError):
        outcome.check_nothing_lost(catalog, one, none.assign(kind=[]), none, none, none)
    with pytest.raises(AssertionError):
        outcome.check_nothing_lost(catalog, one, copies, none, one, none)


def resolved(rows: list[tuple[str, str, str]], decided: dict[str, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["sha256", "labels", "cluster"])
    table = table.assign(labels=table["labels"].map(list), rank=range(len(rows)), reason="")
    return table.join(resolve(table, pd.Series(decided, dtype="str"), set()))


def test_one_unsure_picture_of_a_cluster_has_its_label_as_scraped():
    rows = [("a", "P", "1"), ("b", "P", "1"), ("c", "P", "2"), ("d", "S", "2"), ("e", "PS", "3"), ("f", "P", "4")]
    table = outcome.excluded_pictures(resolved(rows, {"b": "unsure", "c": "unsure", "e": "unsure", "f": "drop"}))
    assert table.to_numpy().tolist() == [
        ["a", "1", "unsure", "P"],  # the better one stands for both
        ["b", "1", "unsure", ""],
        ["c", "2", "unsure", ""],  # scraped under two labels: in no raw test set before, either
        ["d", "2", "unsure", ""],
        ["e", "3", "unsure", ""],
        ["f", "4", "dropped", ""],
    ]


def test_every_file_of_an_escalated_picture_and_of_its_copies_is_listed():
    rows = resolved([("a", "P", "1"), ("b", "P", "1"), ("c", "P", "2")], {"a": "escalate"})
    seen = pd.DataFrame(
        [("a", "P", "x/1.jpg"), ("a", "S", "y/1.jpg"), ("b", "P", "x/2.jpg"), ("c", "P", "x/3.jpg"), ("q", "P", "x/4")],
        columns=["sha256", "label", "origin"],
    )
    acts = [("a", "P", "ann", "no", "2026-01-01"), ("a", "escalate", "bob", "call", "2026-01-02"),
            ("q", "escalate", "bob", "quarantined", "2026-01-03")]  # fmt: skip
    decisions = pd.DataFrame(acts, columns=["sha256", "new_label", "reviewer", "reason", "decided_at"])
    table = outcome.escalated_files(rows, seen, decisions)
    assert table.to_numpy().tolist() == [
        ["a", "P|S", "x/1.jpg", "bob", "call", "2026-01-02"],
        ["a", "P|S", "y/1.jpg", "bob", "call", "2026-01-02"],
        ["b", "P", "x/2.jpg", "bob", "a copy of a: call", "2026-01-02"],
        ["q", "P", "x/4", "bob", "quarantined", "2026-01-03"],
    ]


def test_without_escalations_the_table_is_empty():
    none = pd.DataFrame({name: [] for name in ("sha256", "new_label", "reviewer", "reason", "decided_at")}, dtype="str")
    seen = pd.DataFrame({"sha256": ["a"], "label": ["P"], "origin": ["x"]})
    table = outcome.escalated_files(resolved([("a", "P", "1")], {}), seen, none)
    assert list(table.columns) == ["sha256", "labels", "origin", "reviewer", "reason", "decided_at"]
    assert table.empty
