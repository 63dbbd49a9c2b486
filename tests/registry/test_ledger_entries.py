import dataclasses

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.registry.ledger_entries import Draft, Entry, Ledger, build

START = (0, "", 0)


def draft(version: int = 1, previous: int | None = None, **more) -> Draft:
    made = {"reason": "r", "model_sha256": "a" * 64, "evidence_sha256": "b" * 64}
    return Draft("promote", version, previous, **made | more)


def entry(number: int, knows: tuple[int, str, int] = START, **more) -> Entry:
    return Entry(number, more.pop("id", f"id{number}"), *knows, "somebody", "2026-01-01", draft(number, **more))


def known_of(made: Ledger) -> tuple[int, str, int]:
    """What a promoter who reads this knows."""
    return (made.last.number, made.last.sha256, made.highest) if made.last else (0, "", made.highest)


def after(first: Entry, seen: int | None = None) -> tuple[int, str, int]:
    return (first.number, first.sha256, first.number if seen is None else seen)


# Each step: which promoter, and whether it looks before it appends what it then knows (else, what it knew before).
steps = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=25)


@st.composite
def histories(draw) -> list[Entry]:
    """Entries as promoters append them who look at the ledger now and then, in any interleaving."""
    entries: list[Entry] = []
    knows = dict.fromkeys(range(4), START)
    for number, (who, looks) in enumerate(draw(steps), start=1):
        if looks:
            knows[who] = known_of(build(entries))
        entries.append(entry(number, knows[who]))
    return entries


@given(histories(), st.randoms(use_true_random=False))
def test_one_entry_takes_effect_for_each_predecessor_the_first_and_all_make_one_chain(entries, random):
    effective = build(entries).effective
    last = START[:2]
    for each in effective:
        assert (each.expects, each.expects_sha256) == last
        assert each.number == min(other.number for other in entries if (other.expects, other.expects_sha256) == last)
        last = (each.number, each.sha256)
    assert not any((other.expects, other.expects_sha256) == last for other in entries)
    assert bool(effective) == bool(entries)
    assert build(random.sample(entries, len(entries))) == build(entries)


@given(histories())
def test_an_honest_ledger_is_not_broken_however_many_came_too_late(entries):
    made = build(entries, counted=len(entries))
    assert (made.missing, made.invalidated, made.damaged, made.broken) == ((), (), (), False)
    assert made.production == (made.effective[-1].draft.version if entries else None)
    assert made.highest == len(entries)


@given(histories(), st.integers(0, 1000))
def test_who_alters_an_entry_unhinges_all_that_followed(entries, pick):
    effective = build(entries).effective
    assume(len(effective) > 1)
    altered = effective[pick % (len(effective) - 1)]
    forged = dataclasses.replace(altered, draft=dataclasses.replace(altered.draft, reason="another"))
    made = build([forged if each is altered else each for each in entries])
    assert made.last == forged
    assert made.effective[:-1] == tuple(each for each in effective if each.number < altered.number)
    followers = {each.number for each in effective if each.number > altered.number}
    assert followers <= set(made.invalidated)
    assert made.broken


@given(histories(), st.sets(st.integers(1, 25)), st.sets(st.integers(1, 25)))
def test_what_is_deleted_or_spoilt_is_seen_and_brings_no_loser_of_a_race_to_power(entries, gone, damaged):
    """The counter-example that led to `seen`: 1, 2 after 1, and a late 3 that expected an empty ledger; 1 deleted."""
    honest = build(entries).effective
    numbers = {each.number for each in entries}
    gone, damaged = gone & numbers, (damaged - gone) & numbers
    left = [each for each in entries if each.number not in gone | damaged]
    made = build(left, tuple(damaged), counted=len(entries))
    assert made.effective == honest[: len(made.effective)]
    assert (made.missing, made.damaged) == (tuple(sorted(gone)), tuple(sorted(damaged)))
    if len(made.effective) < len(honest):
        assert made.broken
    elif honest:
        assert made.broken == any(number > honest[-1].number for number in gone | damaged)
    # An author who reads it and decides anew repairs it; missing entries stay visible.
    mended = build([*left, entry(len(entries) + 1, known_of(made))], tuple(damaged), counted=len(entries) + 1)
    assert mended.last.number == len(entries) + 1
    assert not mended.broken
    assert mended.missing == made.missing


@given(histories(), st.sets(st.integers(1, 25)))
def test_without_a_count_too_nobody_comes_to_power_by_a_deletion(entries, gone):
    honest = build(entries).effective
    made = build([each for each in entries if each.number not in gone])
    assert made.effective == honest[: len(made.effective)]


def test_deleting_the_last_entry_is_seen_by_the_count_alone():
    first = entry(1)
    assert build([first]).missing == ()
    made = build([first], counted=2)
    assert (made.production, made.missing, made.broken) == (1, (2,), True)
    assert build([], counted=1).broken
    assert not build([]).broken


def test_somebody_elses_version_after_the_last_entry_breaks_nothing():
    made = build([entry(1)], unreadable=[2], counted=1)
    assert (made.unreadable, made.damaged, made.broken, made.production) == ((2,), (), False, 1)


def test_a_request_that_was_sent_twice_is_one_entry():
    first = entry(1)
    made = build([first, dataclasses.replace(first, number=2), entry(3, after(first, seen=2))])
    assert [each.number for each in made.effective] == [1, 3]
    assert made.invalidated == ()


@settings(max_examples=50)
@given(st.text(max_size=50), st.text(max_size=50))
def test_the_digest_holds_every_field_but_the_number(one, other):
    made = entry(1, reason=one)
    assert made.sha256 == dataclasses.replace(made, number=7).sha256
    assert (made.sha256 == entry(1, reason=other).sha256) == (one == other)
    assert dataclasses.replace(made, who="me").sha256 != made.sha256
    assert dataclasses.replace(made, draft=dataclasses.replace(made.draft, version=9)).sha256 != made.sha256


def test_before_is_what_the_last_promotion_of_a_version_replaced():
    first = entry(1)
    second = entry(2, after(first), previous=1)
    back = dataclasses.replace(entry(3, after(second)), draft=Draft("rollback", 1, 2, "r", "", ""))
    made = build([first, second, back])
    assert (made.production, made.before(2), made.before(1), made.before(9)) == (1, 1, None, None)
