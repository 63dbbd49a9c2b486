"""Csv files as editors write them: accepted, or refused with a message that says what to do."""

import codecs
import csv
import io

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core import csv_rows, paths
from pipeline.core.errors import UserError
from pipeline.data import annotation_files
from tests.support.pictures import LABELS, sha

A, B = sha("a"), sha("b")
HEADER = "sha256,expected_label,slice,ticket,reported_at"
GOOD = f"{HEADER}\n{A},porn,night,T-1,2026-01-02\n{B},neutral,,,\n"


def reports(tmp_path, content: str | bytes) -> pd.DataFrame:
    path = tmp_path / "reports.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return annotation_files.reports(path, LABELS)


def refused(tmp_path, content: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        reports(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "reports.csv"))
    return message.removeprefix(str(tmp_path / "reports.csv"))


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        codecs.BOM_UTF8 + GOOD.encode(),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\n\n") + "\n\n,,,,\n  \n",
        GOOD.replace(A, A.upper()),
        GOOD.replace(",", " , "),
        GOOD.replace("T-1", '"T-1"'),
    ],
    ids=["plain", "bom", "crlf", "cr", "no-last-newline", "empty-lines", "upper-case", "spaces", "quoted"],
)
def test_what_editors_write_is_taken(tmp_path, content):
    rows = reports(tmp_path, content)
    values = rows[list(annotation_files.REPORTS)].to_numpy().tolist()
    assert values == [[A, "porn", "night", "T-1", "2026-01-02"], [B, "neutral", "", "", ""]]


def test_columns_may_come_in_any_order_and_lines_are_those_of_the_file(tmp_path):
    rows = reports(tmp_path, f"ticket,expected_label,sha256,reported_at,slice\n\nT-1,porn,{A},,\n,sexy,{B},,night\n")
    assert rows["line"].tolist() == [3, 4]
    assert rows[["sha256", "expected_label", "slice", "ticket"]].to_numpy().tolist() == [
        [A, "porn", "", "T-1"],
        [B, "sexy", "night", ""],
    ]


def test_a_header_alone_is_no_rows(tmp_path):
    rows = reports(tmp_path, HEADER)
    assert rows.empty
    assert list(rows) == [*annotation_files.REPORTS, "line"]


ROW = f"{A},porn,night,T-1,2026-01-02"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (f"{ROW},", ["line 3: has 6 cells where the header has 5", "comma too many"]),
        (f"{A},porn,night", ["line 3: has 3 cells"]),
        ("z" * 64 + ",porn,,,", ["line 3: sha256 is 'zzz", "not 64 hexadecimal digits"]),
        (f"{A[:63]},porn,,,", ["line 3: sha256", "not 64 hexadecimal digits"]),
        (",porn,,T-1,", ["line 3: sha256 is empty"]),
        (f"{A},,,,", ["line 3: expected_label is empty"]),
        (f"{A},cats,,,", ["line 3: expected_label is 'cats'", "allowed: drawings, hentai, neutral, porn, sexy"]),
        (f"{A},drop,,,", ["line 3: expected_label is 'drop'"]),
        (f"{A},porn,,,31.01.2026", ["line 3: reported_at is '31.01.2026', not a date like 2026-01-31"]),
        (f"{A},porn,,,2026-02-30", ["line 3: reported_at"]),
        (f'{A},porn,"two\nlines",,', ["line 3: slice", "several lines"]),
        (f'{A},porn,"open,,\n{B},porn,,,', ["line 3: a quote", "never closed"]),
        (f'{A},porn,"a"b,,', ["line 3: text follows a closing quote"]),
        (f"{A},porn,{'x' * 200_000},,", ["line 3: field larger than"]),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path, row, words):
    message = refused(tmp_path, f"{HEADER}\n{B},neutral,,,\n{row}\n")
    assert [word for word in words if word not in message] == []


def test_every_wrong_row_is_named_up_to_a_number(tmp_path):
    message = refused(tmp_path, f"{HEADER}\n" + f"{A},cats,,,\nabc,dogs,,,never\n" * 15)
    lines = message.splitlines()
    assert lines[1].startswith("  line 2: expected_label is 'cats'")
    assert [line.split(" is ")[0] for line in lines[2:5]] == [
        "  line 3: sha256",
        "  line 3: expected_label",
        "  line 3: reported_at",
    ]
    assert len(lines) == 1 + csv_rows.MAX_LISTED + 2
    assert lines[-2] == f"  ... and {4 * 15 - csv_rows.MAX_LISTED} more"
    assert "dvc add data" in lines[-1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is empty", HEADER]),
        (b"\n\n", ["is empty"]),
        (GOOD.encode("utf-16"), ["is UTF-16", "CSV UTF-8"]),
        (GOOD.encode("utf-32"), ["is UTF-32"]),
        (GOOD.encode("utf-16-le"), ["line 1 holds a NUL byte", "UTF-16"]),
        (GOOD.replace("night", "n\0ght").encode(), ["line 2 holds a NUL byte"]),
        (GOOD.replace("night", "Bürger").encode("latin-1"), ["line 2 is not UTF-8", "Latin-1", "CSV UTF-8"]),
        (GOOD.replace(",", ";").encode(), ["line 1", "separated by semicolons"]),
        (GOOD.replace(",", "\t").encode(), ["separated by tabs"]),
        (GOOD.replace("ticket", "tickets").encode(), ["unknown column(s) 'tickets'", "lacks the column(s) ticket"]),
        (GOOD.replace("ticket,", "").encode(), ["lacks the column(s) ticket"]),
        (GOOD.replace("ticket", "slice").encode(), ["names twice slice"]),
        ("\n".join(line + "," for line in GOOD.splitlines()).encode(), ["line 1", "a column without a name"]),
        (f"{ROW}\n".encode(), ["line 1", "unknown column(s)", "The header must be sha256"]),
    ],
)
def test_a_file_that_is_no_such_table_is_named_with_the_way_out(tmp_path, content, words):
    message = refused(tmp_path, content)
    assert [word for word in words if word not in message] == []


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"slices\.csv does not exist.*dvc checkout data\.dvc"):
        annotation_files.slices(tmp_path / "slices.csv")
    with pytest.raises(UserError, match="is a folder, not a file"):
        annotation_files.slices(tmp_path)


def test_two_reports_of_a_picture_must_agree(tmp_path):
    assert len(reports(tmp_path, f"{HEADER}\n{A},porn,,T-1,\n{A.upper()},porn,,T-2,\n")) == 2
    message = refused(tmp_path, f"{HEADER}\n{A},porn,,T-1,\n{B},sexy,,,\n{A.upper()},sexy,,T-2,\n")
    assert "line 4: expected_label sexy contradicts line 2, which has porn" in message


def test_the_last_decision_on_a_picture_wins_in_either_case(tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_text(
        f"{','.join(annotation_files.DECISIONS)}\n{A},,drop,,,,\n{B},,porn,,,,\n{A.upper()},,sexy,,,2026-01-02,\n"
    )
    latest = annotation_files.latest(annotation_files.decisions(path, LABELS))
    assert latest.to_dict() == {A: "sexy", B: "porn"}


ODD = [
    "",
    ",",
    '"',
    '""',
    ";",
    "\t",
    "\n",
    "\r",
    "\0",
    "\ufeff",
    "é",
    "\x85",
    "\u2028",
    "drop",
    A.upper(),
    "9" * 5000,
    "NaN",
]


def outcome(path) -> tuple[str | None, pd.DataFrame]:
    try:
        return None, annotation_files.reports(path, LABELS)
    except UserError as error:
        return str(error), pd.DataFrame()


EDITS = st.lists(
    st.tuples(st.sampled_from(["put", "cut", "swap", "double", "bytes"]), st.integers(0, 400), st.sampled_from(ODD)),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list[tuple[str, int, str]]) -> bytes:
    """Return the file after some edits: text inserted or removed, lines doubled or swapped, bytes damaged."""
    for kind, position, text in edits:
        lines = content.split(b"\n")
        line = position % len(lines)
        at = position % (len(content) + 1)
        if kind == "put":
            content = content[:at] + text.encode() + content[at:]
        elif kind == "cut":
            content = content[:at] + content[at + len(text) :]
        elif kind == "swap":
            content = b"\n".join([*lines[line:], *lines[:line]])
        elif kind == "double":
            content = b"\n".join([*lines[:line], lines[line], *lines[line:]])
        else:
            content = content[:at] + bytes([position % 256]) + content[at + 1 :]
    return content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000, max_examples=400)
@given(EDITS)
def test_whatever_an_edit_makes_of_it_the_rows_are_checked_or_a_line_is_named(tmp_path, edits):
    path = tmp_path / "reports.csv"
    path.write_bytes(edited(GOOD.encode(), edits))
    message, rows = outcome(path)
    if message is not None:
        assert message.startswith(str(path))
        assert len(message) < 5000
        return
    assert rows["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert set(rows["expected_label"]) <= set(LABELS)
    # Nothing is dropped: there are as many rows as lines with anything in them, after the header.
    text = path.read_bytes().decode("utf-8-sig")
    full = [
        line for line in io.StringIO(text, newline="") if line.strip(' ,\r\n\t"\x85\u2028\u2029\x1c\x1d\x1e\x1f\xa0')
    ]
    assert len(rows) == len(full) - 1
    assert all(len(line) for line in csv.reader(full))


def test_the_files_that_an_ingest_begins_are_read(tmp_path, monkeypatch):
    from pipeline.data import folder

    monkeypatch.chdir(tmp_path)
    folder.prepare(paths.DATA)
    assert annotation_files.decisions(paths.DECISIONS, LABELS).empty
    assert annotation_files.reports(paths.REPORTS, LABELS).empty
    assert annotation_files.slices(paths.SLICES).empty
