import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.tracking.jsonl import read_lines
from pipeline.tracking.owner_process import is_alive, this_process
from pipeline.tracking.record_document import flatten
from pipeline.tracking.run_record import RunRecord
from tests.support.tracking_helpers import begin, finished


def test_a_record_holds_what_was_logged(project):
    record = finished(epochs=2)
    loaded = RunRecord.load(record.folder)
    assert loaded.folder.parent == paths.RUNS
    assert (loaded.status, loaded.kind) == ("FINISHED", "train")
    assert loaded.document["params"] == {"train.epochs": 3, "train.dropout": [0.5, 0.25], "seed": None}
    assert [entry["rows"] for entry in loaded.document["inputs"]] == [2, None]
    assert [line["epoch"] for line in loaded.metrics()] == [0, 1, None]
    assert loaded.metrics()[1]["metrics"] == {"val_recall/porn": 0.6, "val_loss": 0.5}
    assert loaded.document["finished_at"] > loaded.document["started_at"]


def test_an_exception_fails_the_record_and_goes_on(project):
    record = begin()
    with pytest.raises(ZeroDivisionError), record:
        raise ZeroDivisionError("by zero")
    assert RunRecord.load(record.folder).status == "FAILED"
    assert RunRecord.load(record.folder).document["reason"] == "ZeroDivisionError: by zero"


def test_a_failure_said_explicitly_stays(project):
    with begin() as record:
        record.fail("loss is NaN")
    assert RunRecord.load(record.folder).document["reason"] == "loss is NaN"


def test_copy_to_gives_the_whole_record_and_shares_no_later_change(project):
    record = finished()
    record.copy_to(paths.HEAD)
    record.copy_to(paths.HEAD)
    copy = RunRecord.load(paths.HEAD)
    assert copy.document == record.document
    assert copy.model_path.read_bytes() == record.model_path.read_bytes()
    assert (paths.HEAD / "artifacts/plots/confusion.csv").is_file()
    record.fail("changed afterwards")
    assert RunRecord.load(paths.HEAD).status == "FINISHED"


def test_copy_to_works_without_hard_links(project, monkeypatch):
    def refuse(*_, **__):
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    finished().copy_to(paths.HEAD)
    assert RunRecord.load(paths.HEAD).status == "FINISHED"


@settings(deadline=None)  # fsync takes as long as it takes
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_torn_file_gives_its_whole_lines(tmp_path_factory, cut):
    whole = [{"epoch": epoch, "metrics": {"val_loss": 0.5}} for epoch in range(10)]
    data = "".join(f"{json.dumps(line)}\n" for line in whole).encode()[:cut]
    path = tmp_path_factory.mktemp("torn") / "metrics.jsonl"
    path.write_bytes(data)
    lines, offset = read_lines(path)
    assert lines == whole[: data.count(b"\n")]
    assert offset == data.rfind(b"\n") + 1
    path.write_bytes("".join(f"{json.dumps(line)}\n" for line in whole).encode())
    assert lines + read_lines(path, offset)[0] == whole


def test_a_line_of_rubbish_is_passed_over(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(b'{"epoch": 0}\n\0\0\0\xff\n{"epoch": 1}\n')
    assert [line["epoch"] for line in read_lines(tmp_path / "m.jsonl")[0]] == [0, 1]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "x"}'])
def test_a_broken_record_is_named(project, text):
    folder = Path("broken")
    folder.mkdir()
    (folder / "record.json").write_text(text)
    with pytest.raises(UserError, match="broken"):
        RunRecord.load(folder)


def test_a_missing_input_is_named(project):
    with pytest.raises(UserError, match=r"absent\.parquet does not exist"):
        RunRecord.start("train", params={}, inputs=[Path("absent.parquet")])


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "a/../../escaped"])
def test_an_artifact_stays_in_its_record(project, name):
    with pytest.raises(ValueError, match="leaves the record"):
        begin().artifact(name)


def test_every_logged_line_survives_a_kill(project):
    code = (
        "import os, signal; from pathlib import Path; from pipeline.tracking.run_record import RunRecord\n"
        "r = RunRecord.start('train', params={}, inputs=[])\n"
        "for e in range(5): r.log_epoch(e, {'val_loss': float(e)})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (folder,) = paths.RUNS.iterdir()
    record = RunRecord.load(folder)
    assert [line["epoch"] for line in record.metrics()] == [0, 1, 2, 3, 4]
    assert record.status == "RUNNING"
    assert not record.has_live_owner


def test_this_process_is_alive_and_no_other_start_boot_or_pid_is(tmp_path):
    owner = this_process()
    assert is_alive(owner, tmp_path)
    assert not is_alive(owner | {"started": owner["started"] - 60}, tmp_path)
    assert not is_alive(owner | {"boot": "another"}, tmp_path)
    assert not is_alive(owner | {"pid": 2**22 + 1}, tmp_path)


def test_a_process_elsewhere_is_alive_while_its_record_grows(tmp_path):
    owner = this_process() | {"host": "elsewhere"}
    assert not is_alive(owner, tmp_path)
    (tmp_path / "system.jsonl").write_text("")
    assert is_alive(owner, tmp_path)
    os.utime(tmp_path / "system.jsonl", (0, 0))
    assert not is_alive(owner, tmp_path)


def test_flatten_gives_dotted_keys():
    assert flatten({"a": {"b": {"c": 1}, "d": (1, 2)}, "e": None}) == {"a.b.c": 1, "a.d": [1, 2], "e": None}
