"""`nsfw review --done`: settled decisions become rows of data/decisions.csv, once, whatever is killed."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import annotation_files, decision_rows
from pipeline.data import project as versioned
from pipeline.review import acts, done, progress, queues, workplace
from pipeline.review.acts import Act, Desk, Rules
from pipeline.review.library import Library
from pipeline.review.store import Store
from tests.support.pictures import LABELS, sha
from tests.support.review_project import change, decided, make

ALONE, TWICE = (Rules(second_opinion=share, seed=1, lease_seconds=60.0) for share in (0.0, 1.0))
ROW = {"sha256": sha("a"), "old_label": "porn", "new_label": "sexy", "reviewer": "ada", "reason": 'a, "b"',
       "decided_at": "2026-01-02T03:04:05.000006+00:00", "model_version": "7"}  # fmt: skip


@pytest.fixture
def pictures(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Twelve pictures in data/, and a `dvc add` that only notes that it was called."""
    listed = make(12)
    versions: list[str] = []
    monkeypatch.setattr("pipeline.data.project.add_data", lambda: versions.append(paths.DECISIONS.read_text()))
    monkeypatch.setattr("pipeline.data.completeness.check", lambda _: [])
    monkeypatch.setattr("pipeline.review.done.project.add_data", lambda: versions.append("added"))
    return listed


def decide(store: Store, rules: Rules, reviewer: str, *rows: tuple[str, str]) -> None:
    made = [
        Act(f"{reviewer}-{sha256}-{act}", sha256, act, "porn", "sexy", "suspicions", "test", model_version="7")
        for sha256, act in rows
    ]
    assert {outcome.outcome for outcome in Desk(store, rules, reviewer).perform(made)} == {"saved"}


def rows() -> list[tuple[str, ...]]:
    table = annotation_files.decisions(paths.DECISIONS, LABELS)
    return list(table[["sha256", "old_label", "new_label", "reviewer"]].itertuples(index=False, name=None))


def test_settled_decisions_are_appended_once_and_summed_up(pictures):
    decided((pictures[0], "porn", "drop"))
    params, store = change(), Store(paths.REVIEW)
    decide(store, ALONE, "ada", (pictures[2], "sexy"), (pictures[4], "keep"), (pictures[6], "escalate"))
    report = done.write(store, params, ALONE)
    assert report["changes"] == {"porn -> sexy": 1, "porn -> confirmed": 1, "porn -> escalate": 1}
    assert (report["written"], report["reviewers"], report["splits"]) == (3, {"ada": 3}, {"test": 3})
    expected = [(pictures[2], "porn", "sexy", "ada"), (pictures[4], "porn", "keep", "ada"),
                (pictures[6], "porn", "escalate", "ada")]  # fmt: skip
    assert rows() == [(pictures[0], "porn", "drop", "ann"), *expected]
    before = paths.DECISIONS.read_bytes()
    again = done.write(store, params, ALONE)
    assert (again["written"], again["before"], again["changes"]) == (0, 0, {})
    assert paths.DECISIONS.read_bytes() == before
    lines = done.describe(report)
    assert any("git add data.dvc && git commit -m 'Review: 3 decisions'" in line for line in lines)
    assert "nothing new is settled; data/ is as it was" in done.describe(again)
    decide(store, ALONE, "ada", (pictures[8], "drop"))
    assert done.write(store, params, ALONE)["written"] == 1
    assert len(rows()) == 5


def test_open_questions_stay_and_are_counted(pictures):
    params, store = change(), Store(paths.REVIEW)
    decide(store, TWICE, "ada", (pictures[2], "sexy"), (pictures[4], "sexy"), (pictures[6], "keep"))
    decide(store, TWICE, "bob", (pictures[2], "sexy"), (pictures[4], "drop"))
    report = done.write(store, params, TWICE)
    assert (report["written"], report["waiting"], report["disagreements"]) == (1, 1, 1)
    assert rows() == [(pictures[2], "porn", "sexy", "ada+bob")]
    decide(store, TWICE, "eve", (pictures[4], "drop"))
    assert done.write(store, params, TWICE)["written"] == 1
    assert rows()[-1] == (pictures[4], "porn", "drop", "bob+eve")


@pytest.mark.parametrize("step", ["pipeline.review.done.project.add_data", "pipeline.review.acts.mark_written"])
def test_killed_between_two_steps_it_writes_nothing_twice(pictures, monkeypatch, step):
    params, store = change(), Store(paths.REVIEW)
    decide(store, ALONE, "ada", (pictures[2], "sexy"), (pictures[4], "keep"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step, killed)
        with pytest.raises(KeyboardInterrupt):
            done.write(store, params, ALONE)
    before = paths.DECISIONS.read_bytes()
    report = done.write(store, params, ALONE)
    assert (report["written"], report["before"]) == (0, 2)
    assert paths.DECISIONS.read_bytes() == before
    assert len(rows()) == 2
    assert "2 were there already, from a run that was cut short" in done.describe(report)


def test_a_label_that_was_renamed_since_is_named(pictures):
    store = Store(paths.REVIEW)
    decide(store, ALONE, "ada", (pictures[2], "gore"))
    with pytest.raises(UserError, match=r"'gore', which labels\.names lacks now"):
        done.write(store, change(), ALONE)
    assert rows() == []


def test_while_another_act_holds_data_nothing_is_written(pictures):
    store = Store(paths.REVIEW)
    decide(store, ALONE, "ada", (pictures[2], "sexy"))
    with versioned.ingest_lock(), pytest.raises(UserError, match="Wait for it to end"):
        done.write(store, change(), ALONE)
    assert rows() == []


@pytest.mark.parametrize("form", ["plain", "windows", "no last line end", "another order"])
def test_rows_go_into_a_file_as_it_is(tmp_path, form):
    path = tmp_path / "decisions.csv"
    names = list(annotation_files.DECISIONS)
    first = f"{sha('b')},porn,drop,ann,why,2026-01-01,"
    text = ",".join(names) + "\n" + first + "\n"
    if form == "windows":
        text = "\ufeff" + text.replace("\n", "\r\n")
    elif form == "no last line end":
        text = text.rstrip("\n")
    elif form == "another order":
        others = ",".join(name for name in names if name != "new_label")
        text = f"new_label,{others}\ndrop,{sha('b')},porn,ann,,2026-01-01,\n"
    path.write_text(text, encoding="utf-8", newline="")
    assert decision_rows.append(path, [ROW]) == 1
    assert decision_rows.append(path, [ROW]) == 0
    table = annotation_files.decisions(path, LABELS)
    assert table["new_label"].tolist() == ["drop", "sexy"]
    assert table.iloc[1].drop("line").to_dict() == ROW
    assert path.read_bytes().startswith(text.encode())
    assert (b"\r\n" in path.read_bytes()[len(text.encode()) - 3 :]) == (form == "windows")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_reason_and_name_come_back_as_one_line(tmp_path_factory, reason, reviewer):
    path = tmp_path_factory.mktemp("rows") / "decisions.csv"
    row = ROW | {"reason": reason, "reviewer": reviewer}
    assert decision_rows.append(path, [row]) == 1
    assert decision_rows.append(path, [row]) == 0
    (text,) = annotation_files.decisions(path, LABELS)["reason"]
    assert text.split() == "".join(char if char.isprintable() else " " for char in reason).split()


def test_the_status_tells_what_is_left_and_how_far_people_agree(pictures, nsfw):
    Path(".dvc").mkdir()
    change(second_opinion=1.0, reviewers=["ada", "bob"])
    store = Store(paths.REVIEW)
    pairs = [("sexy", "sexy"), ("keep", "keep"), ("sexy", "keep"), ("keep", "keep")]
    for sha256, (first, second) in zip(pictures[2:], pairs, strict=False):
        decide(store, TWICE, "ada", (sha256, first))
        decide(store, TWICE, "bob", (sha256, second))
    code, output, _ = nsfw("review", "--status", "--json")
    status = json.loads(output)
    assert code == 0
    assert status["second_opinions"] == {"pictures": 4, "agreed": 3, "kappa": pytest.approx(0.5)}
    assert (status["settled"], status["disagreements"], status["unwritten"]) == (3, 1, 3)
    left = {row["name"]: (row["left"], row["items"]) for row in status["queues"]}
    assert left["suspicions"] == (6, 10)
    assert left["pair.porn.sexy"] == (3, 5)
    assert left["disagreements"] == (1, 1)
    code, output, _ = nsfw("review", "--status")
    assert "3 of 4 second opinions agree; Cohen's kappa 0.50" in output


def test_second_opinions_are_waited_for_where_there_are_two_people(pictures):
    params, store = change(second_opinion=0.5), Store(paths.REVIEW)
    store.add_people(["ada"])
    assert workplace.rules(params, store).second_opinion == 0.0
    store.add_people(["ada", "bob"])
    assert workplace.rules(params, store).second_opinion == 0.5
    named = change(second_opinion=0.25, reviewers=["eve", "ada"])
    assert workplace.rules(named, Store(Path("other.db"))).second_opinion == 0.25


def test_options_that_exclude_each_other_are_wrong_usage(project, nsfw):
    assert nsfw("review", "--status", "--done")[0] == 2
    assert nsfw("review", "--json")[0] == 2
    assert nsfw("review", "--status")[0] == 1  # no project's root


def test_queues_leave_out_what_is_decided_and_draw_the_same_sample_again(pictures):
    decided((pictures[2], "porn", "keep"))
    params = change(audit_sample=4)
    library = Library.load(params)
    first = queues.all_queues(library, params)
    assert pictures[2] not in {sha256 for queue in first.values() for sha256 in queue.items}
    assert first["conflicts"].groups == [tuple(pictures[:2])]
    assert first["sample"].items == queues.all_queues(library, params)["sample"].items
    assert first["sample"].count <= 4
    assert first["suspicions"].items == pictures[3:]


@pytest.mark.slow
def test_the_command_versions_data_and_prints_the_commit_to_make(project, nsfw):
    """Real DVC and git."""
    pictures = make(12)
    config = f"[core]\n    analytics = false\n    site_cache_dir = {project / 'site'}\n"
    for path, text in (
        (".dvc/config", config),
        (".gitignore", "/data\n"),
    ):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
    subprocess.run(["git", "init", "-q"], check=True)
    versioned.add_data()
    store = Store(paths.REVIEW)
    rules = workplace.rules(change(second_opinion=1.0), store)  # of one person: no second opinion is waited for
    decide(store, rules, "ada", (pictures[2], "sexy"))
    before = Path("data.dvc").read_text()
    code, output, errors = nsfw("review", "--done")
    assert code == 0, errors
    assert "porn -> sexy" in output
    assert Path("data.dvc").read_text() != before
    (commit,) = [line.removeprefix("next: ") for line in output.splitlines() if line.startswith("next: ")]
    assert commit == "git add data.dvc && git commit -m 'Review: 1 decision'"
    assert progress.states(acts.all_opinions(store), rules) == {pictures[2]: "settled"}
    assert rows() == [(pictures[2], "porn", "sexy", "ada")]
