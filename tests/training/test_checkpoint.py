import logging
import os
import time

import numpy as np
import pytest

from pipeline.training import checkpoint
from pipeline.training.checkpoint import Checkpoints, State

IDENTITY = {"params": "a", "data": "b", "code": "c"}


def state(epoch: int) -> State:
    values = {"model/00000": np.full((3, 2), epoch, np.float32), "optimizer/00000": np.array(epoch * 7)}
    return State(epoch, 12, 2, values, {"val_loss": 0.5, "epoch": 1.0}, (np.ones(4), np.arange(epoch)))


def same(left: State, right: State) -> bool:
    return (
        (left.epoch, left.pictures, left.parts, left.best) == (right.epoch, right.pictures, right.parts, right.best)
        and left.values.keys() == right.values.keys()
        and all(np.array_equal(left.values[name], right.values[name]) for name in left.values)
        and all(np.array_equal(one, two) for one, two in zip(left.best_weights, right.best_weights, strict=True))
    )


def find(root, **changed):
    return checkpoint.prepare(root, "finetune", IDENTITY | changed, every_minutes=1.0)


def test_the_newest_comes_back_whole(tmp_path):
    checkpoints = Checkpoints(tmp_path, 1.0)
    assert checkpoints.load() is None
    for epoch in range(1, 4):
        checkpoints.save(state(epoch))
        assert same(Checkpoints(tmp_path, 1.0).load(), state(epoch))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current.npz", "previous.npz"]


def damage(path, how: str) -> None:
    data = path.read_bytes()
    middle = len(data) // 2
    torn = {
        "cut": data[:middle],
        "empty": b"",
        "flipped": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
        "zeros": bytes(len(data)),
    }
    path.write_bytes(torn[how])


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "zeros"])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, how, caplog):
    checkpoints = Checkpoints(tmp_path, 1.0)
    checkpoints.save(state(1))
    checkpoints.save(state(2))
    damage(tmp_path / "current.npz", how)
    with caplog.at_level(logging.WARNING):
        assert same(checkpoints.load(), state(1))
    assert "current.npz is damaged" in caplog.text
    damage(tmp_path / "previous.npz", how)
    assert checkpoints.load() is None


def test_a_process_that_dies_between_any_two_steps_of_a_save_leaves_a_whole_one(tmp_path):
    """The files as they are after each step: next written, current moved away, next moved in."""
    checkpoints = Checkpoints(tmp_path, 1.0)
    checkpoints.save(state(1))
    checkpoints.save(state(2))
    state(3).save(tmp_path / "next.npz")
    assert same(checkpoints.load(), state(3))
    damage(tmp_path / "next.npz", "cut")
    assert same(checkpoints.load(), state(2))
    state(3).save(tmp_path / "next.npz")
    (tmp_path / "current.npz").replace(tmp_path / "previous.npz")
    assert same(checkpoints.load(), state(3))
    checkpoints.save(state(4))
    assert same(checkpoints.load(), state(4))


def test_a_full_disk_leaves_the_one_before(small_disk):
    checkpoints = Checkpoints(small_disk / "run", 1.0)
    checkpoints.save(state(1))
    (small_disk / "filler").write_bytes(os.urandom(7 * 2**20))
    large = State(2, values={"model/00000": np.random.default_rng(0).random(2**18)})
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(large)
    assert same(checkpoints.load(), state(1))
    assert sorted(path.name for path in (small_disk / "run").iterdir()) == ["current.npz"]


def test_another_is_due_when_time_has_passed(tmp_path):
    checkpoints = Checkpoints(tmp_path, every_minutes=0.2 / 60)
    assert not checkpoints.due
    time.sleep(0.25)
    assert checkpoints.due
    checkpoints.save(state(1))
    assert not checkpoints.due


def test_the_same_identity_finds_the_same_place_and_its_record(tmp_path):
    first = find(tmp_path)
    assert first.record is None
    (tmp_path / "record").mkdir()
    first.note_run(tmp_path / "record", IDENTITY)
    first.save(state(1))
    (first.folder / ".next.npz.x.tmp").write_bytes(b"torn")
    again = find(tmp_path)
    assert again.folder == first.folder
    assert again.record == tmp_path / "record"
    assert same(again.load(), state(1))
    assert not list(again.folder.glob(".*"))
    again.remove()
    assert find(tmp_path).load() is None


@pytest.mark.parametrize(
    ("changed", "words"), [({"params": "x"}, "other params:"), ({"data": "x", "code": "y"}, "other data and code:")]
)
def test_another_identity_starts_afresh_and_says_what_differs(tmp_path, changed, words, caplog):
    old = find(tmp_path)
    old.note_run(tmp_path / "record", IDENTITY)
    old.save(state(1))
    with caplog.at_level(logging.WARNING):
        assert find(tmp_path, **changed).load() is None
    assert f"an interrupted finetune of {words} starting from the beginning" in caplog.text
    assert same(find(tmp_path).load(), state(1))  # with the first identity again, it is resumed


def test_only_the_newest_other_one_is_kept(tmp_path):
    for name in "pqr":
        checkpoints = find(tmp_path, params=name)
        checkpoints.save(state(1))
        for path in (checkpoints.folder, *checkpoints.folder.iterdir()):
            os.utime(path, (ord(name), ord(name)))
    find(tmp_path)
    assert find(tmp_path, params="r").load() is not None
    assert len(list(tmp_path.glob("finetune-*"))) == 2


def test_another_machine_of_the_training_reads_and_never_writes(tmp_path):
    chief = find(tmp_path)
    chief.save(state(1))
    other = checkpoint.prepare(tmp_path, "finetune", IDENTITY, every_minutes=1e-9, read_only=True)
    assert not other.due
    other.save(state(2))
    other.note_run(tmp_path, IDENTITY)
    other.remove()
    assert same(chief.load(), state(1))
    assert chief.record is None
