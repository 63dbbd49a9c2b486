import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.duplicates.label_resolution import resolve

pytestmark = pytest.mark.untraced


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


def resolved(rows, decided=None, reported=()):
    table = resolve(clustered(*rows), pd.Series(decided or {}, dtype="str"), set(reported))
    return dict(zip([row[0] for row in rows], table.to_dict("records"), strict=True))


ONE = [("a", "P", "c"), ("b", "P", "c"), ("d", "S", "c")]


def status(rows):
    return {name: row["status"] for name, row in rows.items()}


def test_the_best_of_one_label_is_kept_and_stands_for_the_rest():
    rows = resolved([("a", "P", "c"), ("b", "P", "c"), ("d", "S", "other")])
    assert status(rows) == {"a": "kept", "b": "duplicate", "d": "kept"}
    assert (rows["a"]["label"], rows["b"]["kept"]) == ("P", "a")


def test_two_labels_are_a_conflict_as_a_whole():
    assert set(status(resolved(ONE)).values()) == {"conflict"}
    assert status(resolved([("a", "PS", "a")])) == {"a": "conflict"}


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_decision_settles_whom_it_confirms_and_is_offered_to_the_rest(who):
    rows = resolved(ONE, {who: "P"})
    assert status(rows) == {"a": "kept", "b": "duplicate", "d": "conflict"}
    assert rows["d"]["offered"] == "P"


def test_a_decision_that_relabels_puts_the_copies_that_it_contradicts_in_conflict():
    rows = resolved(ONE[:2], {"b": "S"})
    assert status(rows) == {"a": "conflict", "b": "kept"}
    assert (rows["b"]["label"], rows["a"]["offered"]) == ("S", "S")


def test_decisions_that_differ_speak_for_their_own_pictures():
    rows = resolved([*ONE, ("e", "P", "c")], {"a": "P", "d": "S"})
    assert status(rows) == {"a": "kept", "b": "conflict", "d": "kept", "e": "conflict"}
    assert rows["e"]["offered"] == "P|S"


def test_a_dropped_member_takes_no_part():
    assert status(resolved(ONE, {"d": "drop"})) == {"a": "kept", "b": "duplicate", "d": "dropped"}
    assert status(resolved(ONE, {"a": "drop", "d": "drop"})) == {"a": "dropped", "b": "kept", "d": "dropped"}


@pytest.mark.parametrize(("act", "state"), [("unsure", "unsure"), ("escalate", "escalated")])
def test_unsure_and_escalated_go_for_the_copies_that_nobody_decided_on(act, state):
    assert set(status(resolved(ONE, {"b": act})).values()) == {state}
    assert status(resolved(ONE, {"b": act, "d": "S"})) == {"a": state, "b": state, "d": "kept"}
    assert set(status(resolved(ONE, {"b": act}, reported={"a"})).values()) == {state}


def test_escalated_weighs_more_than_unsure():
    assert status(resolved(ONE, {"a": "unsure", "d": "escalate"})) == {
        "a": "unsure",
        "b": "escalated",
        "d": "escalated",
    }


def test_a_reported_picture_stands_for_its_cluster_and_two_both_stay():
    rows = resolved(ONE[:2], reported={"b"})
    assert status(rows) == {"a": "duplicate", "b": "kept"}
    assert rows["a"]["kept"] == "b"
    assert set(status(resolved(ONE[:2], reported={"a", "b"})).values()) == {"kept"}


def test_what_is_set_aside_stays_so():
    assert status(resolved([("a", "P!", "a")])) == {"a": "set_aside"}


names = st.lists(st.tuples(st.sampled_from(["P", "S", "PS"]), st.sampled_from("xyz")), min_size=1, max_size=8)


@given(
    names, st.dictionaries(st.integers(0, 7), st.sampled_from(["P", "S", "drop", "unsure", "escalate"])), st.randoms()
)
@settings(max_examples=150, deadline=None)
def test_everyone_is_one_thing_no_undecided_conflict_is_kept_and_order_is_nothing(drawn, choices, random):
    rows = [(str(number), labels, cluster) for number, (labels, cluster) in enumerate(drawn)]
    decided = pd.Series({str(n): choice for n, choice in choices.items()}, dtype="str")
    table = clustered(*rows)
    outcome = resolve(table, decided, set())
    order = list(table.index)
    random.shuffle(order)
    assert resolve(table.loc[order], decided, set()).loc[table.index].equals(outcome)
    both = table.join(outcome)
    for _, members in both.groupby("cluster"):
        free = members[~members["sha256"].isin(decided.index)]
        labels = {label for own in free["labels"] for label in own}
        if len(free) == len(members) and len(labels) > 1:
            assert set(members["status"]) == {"conflict"}
        canonical = members[members["status"] == "kept"]
        assert canonical["label"].is_unique
        assert set(members.loc[members["status"] == "duplicate", "kept"]) <= set(canonical["sha256"])
