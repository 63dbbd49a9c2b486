"""`nsfw score`: what a screen matches has a row with its reason, and no score."""

import io
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.errors import UserError
from pipeline.data import escalations
from tests.batch_scoring.test_scoring import model, model_folder, score  # noqa: F401 -- fixtures
from tests.support.screens import CONTACT, configure, detailed, encoded_small, meta_hash, python_hook

EVIL, GOOD = encoded_small(1), encoded_small(2)


@pytest.fixture
def inputs(model):  # noqa: F811
    Path("in").mkdir()
    for name, content in {"a": GOOD, "b": EVIL, "c": b"rubbish", "d": encoded_small(3)}.items():
        Path(f"in/{name}.png").write_bytes(content)
    with tarfile.open("more.tar", "w") as archive:
        header = tarfile.TarInfo("evil.png")
        header.size = len(EVIL)
        archive.addfile(header, io.BytesIO(EVIL))
    return model


def test_a_match_is_a_row_without_a_score_and_a_record(inputs):
    plain = score(inputs, where=("in", "more.tar"))
    before = pd.read_parquet("out.parquet").set_index("path")
    configure({"partner": ("pdq", meta_hash(detailed(1, (96, 80))))})
    report = score(inputs, out="screened.parquet", where=("in", "more.tar"))
    rows = pd.read_parquet("screened.parquet").set_index("path")
    matched = ["in/b.png", "more.tar::evil.png"]
    assert set(rows.loc[matched, "error"]) == {"escalated: matches partner"}
    assert rows.loc[matched, ["unsafe", "decision"]].isna().all(axis=None)
    others = [path for path in rows.index if path not in matched]
    pd.testing.assert_frame_equal(rows.loc[others], before.loc[others])
    assert (report.tally.escalated, report.tally.scored, plain.tally.scored) == (2, 2, 4)
    assert any(f"CALL {CONTACT}" in line for line in report.lines())
    records = escalations.load(Path("escalations.csv"))
    assert set(records["origin"]) == set(matched)
    assert set(records["door"]) == {"score"}
    assert not Path("data/escalations.csv").exists()


def test_a_hook_without_answer_leaves_a_row_that_the_next_run_tries_again(inputs):
    answer = "import sys\nif b'rubbish' in sys.stdin.buffer.read(): sys.exit(2)\nprint('{\"match\": false}')"
    configure({}, hooks=[python_hook(answer)])
    score(inputs)
    rows = pd.read_parquet("out.parquet").set_index("path")
    assert rows.loc["in/c.png", "error"].startswith("unavailable: unscreened: hook photo: ")
    assert rows.loc["in/a.png", "error"] == ""


def test_a_list_that_cannot_be_read_stops_before_anything_is_scored(inputs):
    configure({"partner": ("pdq", "rubbish")})
    with pytest.raises(UserError, match="the pdq list 'partner', is wrong"):
        score(inputs)
    assert not Path("out.parquet").exists()
