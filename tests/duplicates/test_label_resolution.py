import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.duplicates.label_resolution import settle


def clustered(*rows):
    """Rows of (sha256, labels, cluster), the best first; a label of `!` stands for set aside."""
    return pd.DataFrame(
        {
            "sha256": [row[0] for row in rows],
            "labels": [list(row[1]) for row in rows],
            "cluster": [row[2] for row in rows],
            "rank": range(len(rows)),
            "reason": ["blank" if "!" in row[1] else "" for row in rows],
        }
    )


def settled(rows, decided=None, reported=()):
    found = settle(clustered(*rows), pd.Series(decided or {}, dtype="str"), set(reported))
    return dict(zip([row[0] for row in rows], found.itertuples(index=False), strict=True))


ONE = [("a", "P", "c"), ("b", "P", "c"), ("d", "S", "c")]


def status(found):
    return {name: row.status for name, row in found.items()}


def test_the_best_of_one_label_is_kept_and_stands_for_the_rest():
    found = settled([("a", "P", "c"), ("b", "P", "c"), ("d", "S", "other")])
    assert status(found) == {"a": "kept", "b": "duplicate", "d": "kept"}
    assert (found["a"].label, found["b"].kept) == ("P", "a")


def test_two_labels_are_a_conflict_as_a_whole():
    assert set(status(settled(ONE)).values()) == {"conflict"}
    assert status(settled([("a", "PS", "a")])) == {"a": "conflict"}


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_decision_settles_whom_it_confirms_and_is_offered_to_the_rest(who):
    found = settled(ONE, {who: "P"})
    assert status(found) == {"a": "kept", "b": "duplicate", "d": "conflict"}
    assert found["d"].offered == "P"


def test_a_decision_that_relabels_puts_the_copies_that_it_contradicts_in_conflict():
    found = settled(ONE[:2], {"b": "S"})
    assert status(found) == {"a": "conflict", "b": "kept"}
    assert (found["b"].label, found["a"].offered) == ("S", "S")


def test_decisions_that_differ_speak_for_their_own_pictures():
    found = settled([*ONE, ("e", "P", "c")], {"a": "P", "d": "S"})
    assert status(found) == {"a": "kept", "b": "conflict", "d": "kept", "e": "conflict"}
    assert found["e"].offered == "P|S"


def test_a_dropped_member_takes_no_part():
    assert status(settled(ONE, {"d": "drop"})) == {"a": "kept", "b": "duplicate", "d": "dropped"}
    assert status(settled(ONE, {"a": "drop", "d": "drop"})) == {"a": "dropped", "b": "kept", "d": "dropped"}


def test_a_reported_picture_stands_for_its_cluster_and_two_both_stay():
    found = settled(ONE[:2], reported={"b"})
    assert status(found) == {"a": "duplicate", "b": "kept"}
    assert found["a"].kept == "b"
    assert set(status(settled(ONE[:2], reported={"a", "b"})).values()) == {"kept"}


def test_what_is_set_aside_stays_so():
    assert status(settled([("a", "P!", "a")])) == {"a": "set_aside"}


names = st.lists(st.tuples(st.sampled_from(["P", "S", "PS"]), st.sampled_from("xyz")), min_size=1, max_size=8)


@given(names, st.dictionaries(st.integers(0, 7), st.sampled_from(["P", "S", "drop"])), st.randoms())
@settings(max_examples=150, deadline=None)
def test_everyone_is_one_thing_no_undecided_conflict_is_kept_and_order_is_nothing(drawn, choices, random):
    rows = [(str(number), labels, cluster) for number, (labels, cluster) in enumerate(drawn)]
    decided = pd.Series({str(n): choice for n, choice in choices.items()}, dtype="str")
    table = clustered(*rows)
    found = settle(table, decided, set())
    order = list(table.index)
    random.shuffle(order)
    assert settle(table.loc[order], decided, set()).loc[table.index].equals(found)
    both = table.join(found)
    for _, members in both.groupby("cluster"):
        free = members[~members["sha256"].isin(decided.index)]
        labels = {label for own in free["labels"] for label in own}
        if len(free) == len(members) and len(labels) > 1:
            assert set(members["status"]) == {"conflict"}
        kept = members[members["status"] == "kept"]
        assert kept["label"].is_unique
        assert set(members.loc[members["status"] == "duplicate", "kept"]) <= set(kept["sha256"])
