"""review.db: claims, decisions exactly once, undo, second opinions, disagreements."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.review import acts, opinions, progress
from pipeline.review.acts import REFUSED, SAVED, UNDONE, Act, Desk, Rules
from pipeline.review.store import Store

ALONE = Rules(second_opinion=0.0, seed=1, lease_seconds=600.0)
TWICE = Rules(second_opinion=1.0, seed=1, lease_seconds=600.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "review.db")


def decision(sha256: str, act: str = "keep", identity: str = "", old: str = "porn") -> Act:
    return Act(identity or f"{sha256}-{act}", sha256, act, old, queue="q", split="train")


def groups(text: str) -> list[tuple[str, ...]]:
    return [tuple(word) for word in text.split()]


def outcomes(desk: Desk, *wanted: Act) -> list[str]:
    return [outcome.outcome for outcome in desk.perform(wanted)]


def test_two_people_never_hold_the_same_picture_and_a_cluster_is_one_persons(store):
    ada, bob = Desk(store, ALONE, "ada"), Desk(store, ALONE, "bob")
    assert ada.claim(groups("a bc d e"), 2) == ["a", "b", "c"]
    assert bob.claim(groups("a bc d e"), 9) == ["d", "e"]
    assert ada.claim(groups("a bc d e"), 9) == ["a", "b", "c"]  # a page that is loaded anew
    assert outcomes(bob, decision("b")) == [REFUSED]
    assert outcomes(ada, decision("b")) == [SAVED]
    assert bob.claim(groups("bc"), 9) == []
    assert acts.held_by_others(store, "bob") == {"a", "c"}
    ada.release(["a", "c"])
    assert bob.claim(groups("a bc"), 9) == ["a", "c"]


def test_a_claim_ends_when_its_browser_is_silent_and_lasts_while_it_is_not(store):
    short = Rules(0.0, 1, lease_seconds=0.3)
    ada, bob = Desk(store, short, "ada"), Desk(store, ALONE, "bob")
    assert ada.claim(groups("a b"), 9) == ["a", "b"]
    time.sleep(0.2)
    assert ada.renew(["a"], 3.0, 2) == ["a"]
    time.sleep(0.2)
    assert bob.claim(groups("a b"), 9) == ["b"]
    assert outcomes(ada, decision("b")) == [REFUSED]
    assert ada.renew(["a", "b"], 4.0, 1) == ["a"]
    (row,) = progress.activity(store)
    assert (row["reviewer"], row["pictures"], row["minutes"]) == ("ada", 3, 0.1)


def test_a_decision_that_is_sent_again_is_the_same_one(store):
    ada = Desk(store, ALONE, "ada")
    assert outcomes(ada, decision("a"), decision("a")) == [SAVED, SAVED]
    assert outcomes(ada, decision("a", "drop", "another id of it")) == [REFUSED]
    assert outcomes(Desk(store, ALONE, "bob"), decision("a")) == [REFUSED]
    assert [one.act for one in acts.all_opinions(store)["a"]] == ["keep"]


def test_undo_frees_the_picture_for_the_same_person_and_a_late_copy_of_the_decision_revives_nothing(store):
    ada, bob = Desk(store, ALONE, "ada"), Desk(store, ALONE, "bob")
    first, back = decision("a"), Act("a-keep", undo=True)
    assert outcomes(ada, first, back, back) == [SAVED, UNDONE, UNDONE]
    assert outcomes(bob, decision("a", "drop", "bobs")) == [REFUSED]
    assert outcomes(ada, first) == [SAVED]
    assert acts.all_opinions(store) == {}
    assert outcomes(ada, decision("a", "drop")) == [SAVED]
    assert outcomes(bob, Act("a-drop", undo=True), Act("nothing", undo=True)) == [REFUSED, REFUSED]
    acts.mark_written(store, [one.number for one in acts.all_opinions(store)["a"]])
    assert outcomes(ada, Act("a-drop", undo=True)) == [REFUSED]


def test_a_second_person_decides_too_and_a_third_where_they_differ(store):
    ada, bob, eve = (Desk(store, TWICE, name) for name in ("ada", "bob", "eve"))
    assert outcomes(ada, decision("a", "sexy", "1"), decision("b", "sexy", "2")) == [SAVED, SAVED]
    assert ada.claim(groups("a b"), 9) == []
    assert outcomes(ada, decision("a", "drop", "3")) == [REFUSED]
    assert bob.claim(groups("a b"), 9) == ["a", "b"]
    assert outcomes(bob, decision("a", "sexy", "4"), decision("b", "keep", "5")) == [SAVED, SAVED]
    assert outcomes(ada, Act("1", undo=True)) == [REFUSED]  # bob has decided since
    listed = acts.all_opinions(store)
    assert progress.states(listed, TWICE) == {"a": opinions.SETTLED, "b": opinions.DISAGREED}
    assert progress.disagreed(listed, TWICE) == ["b"]
    assert eve.claim(groups("a b"), 9) == []
    assert eve.claim(groups("b"), 9, disagreements=True) == ["b"]
    assert outcomes(eve, decision("b", "drop", "6")) == [SAVED]
    listed = acts.all_opinions(store)
    assert progress.states(listed, TWICE)["b"] == opinions.SETTLED
    assert opinions.verdict(listed["b"]).act == "drop"
    assert progress.pairs(listed) == [("sexy", "sexy"), ("sexy", "porn")]


def test_to_escalate_is_final_at_once(store):
    ada, bob = Desk(store, TWICE, "ada"), Desk(store, TWICE, "bob")
    assert outcomes(ada, decision("a", "escalate")) == [SAVED]
    assert bob.claim(groups("a"), 9) == []
    assert progress.states(acts.all_opinions(store), TWICE) == {"a": opinions.SETTLED}


def test_what_is_saved_is_there_after_the_process_is_gone(store, tmp_path):
    Desk(store, ALONE, "ada").perform([decision("a", "sexy")])
    again = Store(tmp_path / "review.db")
    (opinion,) = acts.all_opinions(again)["a"]
    assert (opinion.act, opinion.reviewer, opinion.old_label, opinion.changes) == ("sexy", "ada", "porn", True)


def test_a_failure_in_a_transaction_leaves_nothing(store):
    def twice() -> None:
        with store.writing() as connection:
            for _ in range(2):
                connection.execute("INSERT INTO claims VALUES ('a', 'ada', 9e9)")

    with pytest.raises(sqlite3.IntegrityError):
        twice()
    assert acts.held_by_others(store, "bob") == set()


def test_another_file_is_refused_with_its_name(tmp_path):
    (tmp_path / "review.db").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(UserError, match=r"review\.db"):
        Store(tmp_path / "review.db")
    with sqlite3.connect(tmp_path / "later.db") as later:
        later.execute("PRAGMA user_version=9")
    with pytest.raises(UserError, match="another version"):
        Store(tmp_path / "later.db")


def test_threads_of_two_people_decide_each_picture_once(tmp_path):
    """Each claims, decides and now and then sends again; each with a connection of its own, as two servers would."""
    names = [f"{number:03}" for number in range(120)]
    saved: dict[str, list[str]] = {"ada": [], "bob": []}

    def work(reviewer: str) -> None:
        desk = Desk(Store(tmp_path / "review.db"), ALONE, reviewer)
        while claimed := desk.claim([(name,) for name in names], 7):
            for name in claimed:
                act = decision(name, identity=f"{reviewer}-{name}")
                assert outcomes(desk, act) == outcomes(desk, act) == [SAVED]
                saved[reviewer].append(name)

    Store(tmp_path / "review.db").close()
    threads = [threading.Thread(target=work, args=(name,)) for name in saved]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(saved["ada"] + saved["bob"]) == names
    listed = acts.all_opinions(Store(tmp_path / "review.db"))
    assert {name: one[0].reviewer for name, one in listed.items()} == {
        name: reviewer for reviewer, several in saved.items() for name in several
    }


moves = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bob", "eve"]),
        st.sampled_from("xyz"),
        st.sampled_from(["keep", "drop", "sexy", "undo"]),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(moves, st.sampled_from([ALONE, TWICE]))
def test_whatever_people_do_in_whatever_order_a_picture_has_as_many_opinions_as_it_may(tmp_path_factory, drawn, rules):
    store, count = Store(tmp_path_factory.mktemp("db") / "review.db"), 0
    last: dict[tuple[str, str], str] = {}
    for reviewer, picture, act in drawn:
        desk, count = Desk(store, rules, reviewer), count + 1
        if act == "undo":
            desk.perform([Act(last.get((reviewer, picture), "none"), undo=True)])
        else:
            last[reviewer, picture] = str(count)
            desk.perform([decision(picture, act, str(count))])
        for listed in acts.all_opinions(store).values():
            first = [one.reviewer for one in listed if not one.final]
            assert len(set(first)) == len(first) <= (2 if rules is TWICE else 1)
            assert len([one for one in listed if one.final]) <= 1
    store.close()


def test_second_opinions_are_a_seeded_share():
    due = [opinions.is_due(f"{number:064x}", 0.2, 1) for number in range(5000)]
    assert 0.17 < sum(due) / 5000 < 0.23
    assert due == [opinions.is_due(f"{number:064x}", 0.2, 1) for number in range(5000)]
    assert due != [opinions.is_due(f"{number:064x}", 0.2, 2) for number in range(5000)]
    assert not any(opinions.is_due(f"{number:064x}", 0.0, 1) for number in range(500))
    assert all(opinions.is_due(f"{number:064x}", 1.0, 1) for number in range(500))


def test_kappa_is_that_of_the_textbook():
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert opinions.kappa(pairs) == pytest.approx(0.4)
    assert opinions.kappa([("a", "a"), ("a", "a")]) is None
    assert opinions.kappa([]) is None


def test_finds_are_of_the_last_hundred_of_a_queue(store):
    ada = Desk(store, ALONE, "ada")
    ada.perform([decision(f"k{number}", "keep") for number in range(80)])
    ada.perform([decision(f"s{number}", "sexy") for number in range(60)])
    listed = acts.all_opinions(store)
    assert progress.finds(listed) == progress.finds(listed, "q") == progress.Finds(100, 60)
    assert progress.finds(listed, "other") == progress.Finds(0, 0)
