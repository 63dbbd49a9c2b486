import pandas as pd
import pytest

from pipeline.core.errors import UserError
from pipeline.monitoring.scores import check_comparable, read
from tests.support.score_tables import LABELS, probabilities, scores, table, write


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_table_of_nsfw_score_is_read_alike_in_each_format(tmp_path, suffix):
    frame = table(probabilities(50, 1)[0], 1, unreadable={"broken": 3})
    frame.loc[0, "path"] = "=cmd|' /C calc'!A0.jpg"
    window = read(write(frame, tmp_path / f"window{suffix}"))
    assert (window.name, window.labels, window.rows, len(window.scored)) == ("window", LABELS, 53, 50)
    assert window.models == ("nsfw/3",)
    assert window.contents["reason"].value_counts().to_dict() == {"": 50, "broken": 3}
    by_sha = window.scored.set_index("sha256")
    assert by_sha.loc[frame["sha256"][0], "path"] == "=cmd|' /C calc'!A0.jpg"
    assert by_sha.loc[frame["sha256"][7], "p_porn"] == pytest.approx(frame["p_porn"][7], abs=1e-12)


def test_a_content_that_came_often_counts_once(tmp_path):
    frame = table(probabilities(20, 1)[0], 1, unreadable={"broken": 2})
    window = read(write(pd.concat([frame, frame.head(5), frame.head(5)]), tmp_path / "w.csv"))
    assert (window.rows, len(window.contents), len(window.scored)) == (32, 22, 20)


def broken(tmp_path, edit):
    frame = table(probabilities(20, 1)[0], 1)
    path = tmp_path / "w.csv"
    edit(frame).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda frame: frame.drop(columns=["sha256"]), "lacks the column"),
        (lambda frame: frame.drop(columns=["model", "decision"]), "it lacks decision, model"),
        (lambda frame: frame.drop(columns=["p_porn", "p_neutral"]), "it lacks p_<class>"),
        (lambda frame: frame.assign(p_porn=["x", *frame["p_porn"][1:]]), "row 1: p_porn is 'x', no probability"),
        (lambda frame: frame.assign(unsafe=[*frame["unsafe"][:-1], 1.5]), "row 20: unsafe is '1.5'"),
        (lambda frame: frame.assign(decision="maybe"), "row 1: decision is 'maybe'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, edit, words):
    with pytest.raises(UserError, match=words):
        read(broken(tmp_path, edit))


def test_files_that_are_no_tables_are_named(tmp_path):
    (tmp_path / "w.txt").write_text("x")
    (tmp_path / "w.jsonl").write_text('{"path": "a"}\n[1]\n')
    (tmp_path / "v.jsonl").write_text("{nonsense\n")
    (tmp_path / "w.parquet").write_bytes(b"PAR1 no")
    for name, words in [
        ("w.txt", "is no table of scores"), ("gone.csv", "is no file"), ("w.jsonl", "line 2 is no JSON object"),
        ("v.jsonl", "is not readable JSON lines"), ("w.parquet", "is not a readable parquet file"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=words):
            read(tmp_path / name)


def test_only_scores_of_one_model_are_compared(tmp_path):
    reference = read(scores(tmp_path / "a.parquet", 30, 1))
    other = table(probabilities(30, 2)[0], 2, labels=("drawings", "neutral", "sexy"))
    with pytest.raises(UserError, match=r"b\.csv has the classes drawings, neutral, sexy"):
        check_comparable(reference, [read(write(other, tmp_path / "b.csv", ("drawings", "neutral", "sexy")))])
    with pytest.raises(UserError, match=r"c\.csv was scored by nsfw/4, .*a\.parquet by nsfw/3"):
        check_comparable(reference, [read(scores(tmp_path / "c.csv", 30, 3, model="nsfw/4"))])
    nothing = write(table(probabilities(0, 4)[0], 4, unreadable={"broken": 4}), tmp_path / "d.csv")
    with pytest.raises(UserError, match="holds no picture that was scored"):
        check_comparable(reference, [read(nothing)])
