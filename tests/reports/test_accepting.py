import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core import code_digests, paths
from pipeline.core.errors import UserError
from pipeline.data import (
    annotation_files,
    annotation_rows,
    dvc_pointer,
    escalations,
    folder,
    project,
    removed_contents,
    shards,
    sightings,
)
from pipeline.params.root import load_params
from pipeline.reports import accepting, inbox
from pipeline.reports.accepting import Naming
from tests.support.pictures import LABELS, draw, encode, scrape, tree
from tests.support.public_reports import changed_params, photo, send, stored
from tests.support.screens import configure
from tests.support.trained_project import STAGES


@pytest.fixture
def params(project, monkeypatch):
    """A scrape of 30 pictures a class in data/; DVC is told nothing."""
    contents = {
        f"raw/{label}/{number}.png": f"{label}{number}".encode() for label in LABELS for number in range(29)
    } | {f"raw/{label}/known.jpg": photo(700 + index) for index, label in enumerate(LABELS)}
    scrape(project, contents)
    folder.ingest(folder.scan(project / "raw", LABELS), paths.DATA, "web")
    monkeypatch.setattr("pipeline.data.project.add_data", lambda: None)
    monkeypatch.setattr("pipeline.data.project.prepare_for_batch", lambda *_, **__: None)
    return changed_params(burst=500, max_share=0.1)


def rows(params):
    return annotation_files.reports(paths.REPORTS, params.labels.names)


def test_a_picture_that_is_new_goes_into_data_as_a_batch_of_reports(params):
    one = send(params, photo(1), comment="it is a flower")
    report = stored()[0]
    pixels = (inbox.PICTURES / report.picture).read_bytes()
    (case,) = accepting.accept(params, [one], Naming("night", "T-812"))
    (row,) = rows(params).to_dict("records")
    assert row["sha256"] == case.sha256 == hashlib.sha256(pixels).hexdigest()
    assert (row["expected_label"], row["slice"], row["ticket"]) == ("neutral", "night", "T-812")
    assert row["reported_at"] == report.created_at[:10]
    seen = sightings.load(paths.SIGHTINGS)
    (sighted,) = seen[seen["sha256"] == case.sha256].to_dict("records")
    assert sighted["source"].startswith("reports-20")
    assert (sighted["label"], sighted["status"], sighted["origin"]) == ("neutral", "stored", f"report/{one}.png")
    (member,) = [m for path in paths.SHARDS.glob("*.tar") for m in shards.list_members(path) if m.sha256 == case.sha256]
    assert shards.read(paths.SHARDS, member) == pixels
    after = stored()[0]
    assert (after.state, after.case_sha256, after.ticket, after.picture) == ("accepted", case.sha256, "T-812", "")
    assert list(inbox.PICTURES.iterdir()) == []
    assert b"it is a flower" not in b"".join(tree(paths.DATA).values())


def test_a_picture_that_data_has_already_needs_no_consent(params):
    one = send(params, photo(702), consent=False)
    before = sorted(path.name for path in paths.SHARDS.iterdir())
    (case,) = accepting.accept(params, [one], Naming())
    assert (case.sha256, case.ticket) == (hashlib.sha256(photo(702)).hexdigest(), one)
    assert sorted(path.name for path in paths.SHARDS.iterdir()) == before
    assert rows(params)["sha256"].tolist() == [case.sha256]


def test_a_hash_alone_of_a_picture_that_is_not_here_cannot_be_a_case(params):
    one = send(params, photo(1), consent=False)
    before = tree(paths.DATA)
    with pytest.raises(UserError, match="only its hash came, and data/ has no such picture"):
        accepting.accept(params, [one], Naming())
    assert tree(paths.DATA) == before
    assert stored()[0].state == "new"


def test_no_more_than_the_share_of_a_class_is_taken_by_reports(params):
    ids = [send(params, photo(number)) for number in range(5)]
    accepting.accept(params, ids[:2], Naming())
    with pytest.raises(UserError) as caught:
        accepting.accept(params, ids[2:4], Naming())
    assert "neutral would have 4 accepted reports for 32 pictures in data/" in str(caught.value)
    assert "reports.max_share allows (10 %, 3)" in str(caught.value)
    accepting.accept(params, ids[2:3], Naming())
    accepting.accept(params, ids[3:4], Naming(label="drawings"))  # another class
    assert rows(params)["expected_label"].value_counts().to_dict() == {"neutral": 3, "drawings": 1}


def test_what_is_a_case_already_gets_no_second_row(params):
    one, again = send(params, photo(702), "192.0.2.1"), send(params, photo(702), "192.0.2.2")
    contrary = send(params, photo(702), "192.0.2.3", expected_label="porn")
    accepting.accept(params, [one], Naming(ticket="T-1"))
    (case,) = accepting.accept(params, [again], Naming())
    assert (case.new, case.ticket, len(rows(params))) == (False, "T-1", 1)
    with pytest.raises(UserError, match=r"a case already \(ticket T-1\), as neutral, not porn"):
        accepting.accept(params, [contrary], Naming())


def test_two_reports_of_one_picture_accepted_at_once_make_one_row(params):
    ids = [send(params, photo(1), f"192.0.2.{number}") for number in (1, 2)]
    cases = accepting.accept(params, ids, Naming())
    assert [case.new for case in cases] == [True, False]
    assert len(rows(params)) == 1
    clash = [send(params, photo(2), "192.0.2.1"), send(params, photo(2), "192.0.2.2", expected_label="sexy")]
    with pytest.raises(UserError, match="are of one picture, as neutral and as sexy"):
        accepting.accept(params, clash, Naming())


def test_what_was_taken_down_never_comes_back(params):
    one = send(params, photo(702))
    removed = {
        "sha256": hashlib.sha256(photo(702)).hexdigest(),
        "reason": "law",
        "removed_at": "2026-01-01T00:00:00Z",
        "removed_by": "kim",
        "selector": "x",
    }
    removed_contents.record(paths.SIGHTINGS, pd.DataFrame([removed]))
    with pytest.raises(UserError, match="was taken down for good"):
        accepting.accept(params, [one], Naming())


def test_a_changed_file_in_the_inbox_is_not_taken(params):
    one = send(params, photo(1))
    (inbox.PICTURES / stored()[0].picture).write_bytes(encode(draw(np.random.default_rng(1)), "PNG"))
    with pytest.raises(UserError, match="has been changed since it came"):
        accepting.accept(params, [one], Naming())


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("step", ["annotation_rows.append", "project.add_data", "triage.close"])
def test_killed_anywhere_it_ends_the_same_when_it_is_run_again(params, monkeypatch, step):
    one = send(params, photo(1))

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"pipeline.reports.accepting.{step}", kill)
        with pytest.raises(Killed):
            accepting.accept(params, [one], Naming("night", "T-1"))
    assert stored()[0].state == "new"
    accepting.accept(params, [one], Naming("night", "T-1"))
    (row,) = rows(params).to_dict("records")
    seen = sightings.load(paths.SIGHTINGS)
    assert len(seen[seen["sha256"] == row["sha256"]]) == 1
    assert (stored()[0].state, stored()[0].ticket) == ("accepted", "T-1")


@pytest.mark.parametrize(
    "old",
    [
        b"sha256,expected_label,slice,ticket,reported_at\n",
        b"\xef\xbb\xbfticket,sha256,slice,expected_label,reported_at\r\nT-0," + b"a" * 64 + b",day,porn,2026-01-01",
    ],
)
def test_rows_are_appended_as_the_file_is_written(project, old):
    path = project / "reports.csv"
    path.write_bytes(old)
    new = {"sha256": "b" * 64, "expected_label": "sexy", "ticket": 'T, "1"'}
    annotation_rows.append(path, [new])
    assert path.read_bytes().startswith(old)
    assert path.read_bytes().count(b"\r\n") == (2 + 1 if b"\r\n" in old else 0)
    *_, row = annotation_files.reports(path, LABELS).to_dict("records")
    assert {key: row[key] for key in new} == new
    with pytest.raises(UserError, match="several lines"):
        annotation_rows.append(path, [{"sha256": "b" * 64, "ticket": "a\nb"}])


def test_the_command_versions_data_and_prints_the_commit(own_dvc, nsfw):
    scrape(own_dvc, {f"raw/neutral/{number}.png": str(number).encode() for number in range(40)})
    folder.ingest(folder.scan(own_dvc / "raw", LABELS), paths.DATA, "web")
    project.add_data()
    params = changed_params()
    pointer = (own_dvc / "data.dvc").read_text()
    one = send(params, photo(1))
    code, out, err = nsfw("reports", "accept", one, "--slice", "night")
    assert code == 0, err
    assert out.splitlines()[-3:] == [
        "wrote data/reports.csv, data.dvc",
        f"next: git add data.dvc && git commit -m 'Accept reports: {one}'",
        "      dvc repro",
    ]
    assert (own_dvc / "data.dvc").read_text() != pointer
    assert "up to date" in dvc_pointer.dvc("status", "data.dvc").stdout
    code, out, _ = nsfw("reports", "accept", one, "--json")
    assert (code, out) == (1, "")


@pytest.mark.parametrize("option", [["--slice", "=cmd()"], ["--ticket", "a\nb"], ["--slice", "x" * 81]])
def test_a_slice_or_ticket_that_a_spreadsheet_would_run_is_wrong_usage(project, nsfw, option):
    assert nsfw("reports", "accept", "abc", *option)[0] == 2


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_reads_the_inbox(stage):
    modules = code_digests.closure(f"pipeline.stages.{stage}")
    assert [name for name in modules if name.startswith(("pipeline.reports", "pipeline.demo"))] == []
    graph = (Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8")
    assert str(paths.INBOX) not in graph


def test_a_picture_that_a_list_knows_by_now_is_not_accepted_and_is_recorded(params):
    one = send(params, photo(1))
    (report,) = stored()
    configure({"own": ("sha256", report.picture_sha256)})
    before = tree(paths.DATA)
    with pytest.raises(UserError, match=r"is escalated: matches own\. Nothing was accepted\. Call Ada"):
        accepting.accept(load_params(), [one], Naming())
    (record,) = escalations.load(paths.ESCALATION_RECORDS).to_dict("records")
    assert (record["origin"], record["door"]) == (f"report/{one}.png", "reports accept")
    assert {name: data for name, data in tree(paths.DATA).items() if name != "escalations.csv"} == before
