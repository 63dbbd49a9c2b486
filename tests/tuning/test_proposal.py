"""What a search writes into params.yaml, and when it refuses."""

from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.params import editing
from pipeline.params.root import load_params, parse_params
from pipeline.tuning import proposal, space
from pipeline.tuning.proposal import Gain

PARAMS = Path(__file__).parents[2] / "params.yaml"
TEXT = PARAMS.read_text(encoding="utf-8")


def test_nothing_changed_is_the_same_file_to_the_byte():
    assert editing.rewrite(TEXT, {}) == TEXT


def test_comments_and_order_stay(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    params = load_params(path)
    schedule = {"kind": "exponential", "initial": 0.002, "rate": 0.8, "every_epochs": 1.0}
    values = {"train.dropout.0": 0.31, "train.l2": 1e-5}
    values |= {f"finetune.schedule.{key}": value for key, value in schedule.items()}
    diff = editing.write(proposal.changes(values, params), path)
    written = path.read_text(encoding="utf-8")
    assert load_params(path) == space.apply(values, params)
    assert list(yaml.safe_load(written)) == list(yaml.safe_load(TEXT))
    before, after = ([line.partition("#")[2] for line in text.splitlines() if "#" in line] for text in (TEXT, written))
    assert after == before
    assert "+  l2: 1.0e-05" in diff
    assert "+    kind: exponential" in diff
    changed = [line for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert len(changed) <= 6


def test_a_small_float_is_a_number_for_every_reader():
    text = editing.rewrite(TEXT, {"train.l2": 1e-06})
    assert parse_params(yaml.safe_load(text)).train.l2 == 1e-06


@pytest.mark.parametrize(
    ("objective", "winner", "current", "mean", "certain"),
    [
        ("macro_recall", (0.92, 0.93, 0.92), (0.90, 0.91, 0.91), 0.01667, True),
        ("macro_recall", (0.95, 0.88, 0.92), (0.90, 0.91, 0.91), 0.01, False),
        ("macro_recall", (0.89, 0.90, 0.89), (0.90, 0.91, 0.90), -0.01, False),
        ("log_loss", (0.30, 0.31, 0.30), (0.40, 0.40, 0.41), 0.1, True),
        ("log_loss", (0.40, 0.41, 0.40), (0.30, 0.30, 0.31), -0.1, False),
    ],
)
def test_a_gain_counts_where_it_is_more_than_noise(objective, winner, current, mean, certain):
    gain = Gain(objective, winner, current)
    assert gain.mean == pytest.approx(mean, abs=1e-4)
    assert gain.certain is certain
    if certain:
        proposal.refuse_noise(gain, anyway=False)
        return
    proposal.refuse_noise(gain, anyway=True)
    with pytest.raises(UserError, match=r"within noise, params.yaml stays .*--anyway"):
        proposal.refuse_noise(gain, anyway=False)
