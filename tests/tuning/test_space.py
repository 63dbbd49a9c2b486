"""The search space: draws, the params that they give, and refused entries."""

from pathlib import Path

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.params import editing
from pipeline.params.root import Params, load_params, parse_params
from pipeline.params.schedule import Cosine, Exponential, Piecewise
from pipeline.tuning import proposal, schedule_values, space, trial

PARAMS = Path(__file__).parents[2] / "params.yaml"
TEXT = PARAMS.read_text(encoding="utf-8")
EXPONENTIAL = {"kind": "exponential", "initial": 0.001, "rate": 0.9, "every_epochs": 1.0, "warmup_epochs": 1.0}
EVERYTHING = {
    "train.dropout.0": {"low": 0.0, "high": 0.7},
    "train.dropout.1": {"low": 0.0, "high": 0.5},
    "train.l2": {"low": 1e-6, "high": 1e-2, "log": True},
    "train.label_smoothing": {"low": 0.0, "high": 0.2},
    "finetune.unfreeze": {"choices": ["all", "block_3", "block_13", "none"]},
    "finetune.optimizer": {"choices": ["adam", "sgd"]},
    "finetune.batch_size": {"choices": [16, 32, 64]},
    "finetune.clip_norm": {"choices": [None, 1.0, 5.0]},
    "finetune.schedule.kind": {"choices": ["exponential", "cosine", "piecewise"]},
    "finetune.schedule.initial": {"low": 1e-5, "high": 1e-2, "log": True},
    "finetune.schedule.rate": {"low": 0.3, "high": 1.0},
    "finetune.schedule.every_epochs": {"low": 0.5, "high": 5.0},
    "finetune.schedule.warmup_epochs": {"low": 0.0, "high": 2.0},
    "finetune.schedule.final": {"low": 0.0, "high": 1e-5},
    "augment.strength": {"low": 0.5, "high": 1.5},
}


def params(entries: dict, **finetune) -> Params:
    document = yaml.safe_load(TEXT)
    document["backbone"] |= {"name": "mobilenet_v2", "alpha": 0.35, "weights": "imagenet", "size": 96}
    document["train"] |= {"dropout": [0.5, 0.25], "l2": 0.0005}
    document["finetune"] |= {
        "unfreeze": "all",
        "schedule": EXPONENTIAL,
        "batch_size": 32,
        "optimizer": "adam",
    } | finetune
    document["tune"]["space"] = entries
    return parse_params(document)


def drawn(chosen: Params, seed: int, count: int = 40) -> list[space.Values]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.draw(study.ask(), chosen.tune.space, chosen) for _ in range(count)]


def test_the_projects_own_space_is_sound():
    own = load_params(PARAMS)
    space.check(own.tune.space, own)
    assert {"train.dropout.0", "train.dropout.1", "train.l2", "finetune.unfreeze", space.KIND} <= own.tune.space.keys()


def test_a_schedules_keys_depend_on_its_kind():
    chosen = params(EVERYTHING)
    kinds = set()
    for values in drawn(chosen, 1):
        kind = values[space.KIND]
        of_schedule = {key.split(".")[2] for key in values if key.startswith("finetune.schedule.")} - {"kind"}
        assert of_schedule == set(schedule_values.KEYS_OF_KIND[kind])
        assert space.apply(values, chosen).finetune.schedule.kind == kind
        kinds.add(kind)
    assert kinds == {"exponential", "cosine", "piecewise"}


@pytest.mark.untraced
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_whatever_is_drawn_makes_sound_params_and_reads_back_from_the_file(seed):
    chosen = params(EVERYTHING)
    values = proposal.round_values(drawn(chosen, seed, 1)[0])
    applied = space.apply(values, chosen)
    changed = proposal.changes(values, chosen)
    text = editing.rewrite(yaml.safe_dump(chosen.model_dump(by_alias=True, mode="json"), sort_keys=False), changed)
    assert parse_params(yaml.safe_load(text)) == applied


def test_values_land_where_they_belong():
    chosen = params(EVERYTHING)
    values = {"train.dropout.0": 0.1, "train.l2": 1e-5, "finetune.unfreeze": "block_3", "augment.strength": 0.5}
    applied = space.apply(values, chosen)
    assert (applied.train.dropout, applied.train.l2) == ((0.1, 0.25), 1e-5)
    assert applied.finetune.unfreeze == "block_3"
    assert (applied.augment.rotation, applied.augment.flip) == (chosen.augment.rotation / 2, chosen.augment.flip)
    assert applied.finetune.schedule == chosen.finetune.schedule
    assert applied.backbone == chosen.backbone


def test_a_piecewise_schedule_is_a_staircase():
    chosen = params(EVERYTHING, epochs=6)
    stairs = {"kind": "piecewise", "initial": 0.01, "rate": 0.5, "every_epochs": 2.0, "warmup_epochs": 0.5}
    schedule = space.apply(
        {f"finetune.schedule.{key}": value for key, value in stairs.items()}, chosen
    ).finetune.schedule
    assert isinstance(schedule, Piecewise)
    assert (schedule.boundaries, schedule.values) == ((2.0, 4.0), (0.01, 0.005, 0.0025))
    assert schedule.warmup_epochs == 0.5
    again = params(EVERYTHING, epochs=6, schedule=schedule.model_dump(mode="json"))
    assert space.baseline(again.tune.space, again)["finetune.schedule.rate"] == 0.5


def test_a_shorter_trial_goes_through_the_same_rates():
    full = Exponential(kind="exponential", initial=0.01, rate=0.5, every_epochs=2.0, warmup_epochs=1.0)
    short = schedule_values.compress(full, 0.25)
    assert (short.every_epochs, short.warmup_epochs, short.initial, short.rate) == (0.5, 0.25, 0.01, 0.5)
    steps = Piecewise(kind="piecewise", boundaries=(4.0, 8.0), values=(0.1, 0.01, 0.001), warmup_epochs=0.0)
    assert schedule_values.compress(steps, 0.5).boundaries == (2.0, 4.0)


@pytest.mark.parametrize(("optimizer", "factor"), [("adam", 0.5), ("sgd", 0.25)])
def test_few_pictures_come_in_smaller_batches_at_smaller_rates(optimizer, factor):
    chosen = params(EVERYTHING, epochs=12, optimizer=optimizer, patience=3)
    chosen = chosen.model_copy(
        update={"tune": chosen.tune.model_copy(update={"epochs": 3, "head_epochs": 4, "min_steps": 100})}
    )
    assert trial.batch_factor(chosen, 3200) == 1.0  # 300 steps
    assert trial.batch_factor(chosen, 280) == 8 / 32  # 27 steps of 32, 105 of 8
    assert trial.batch_factor(chosen, 28) == 8 / 32
    assert trial.batch_factor(chosen, 600) == 18 / 32
    short = trial.short_params(chosen, trial.batch_factor(chosen, 280))
    assert (short.train.epochs, short.finetune.epochs, short.finetune.batch_size) == (4, 3, 8)
    full = chosen.finetune.schedule
    assert short.finetune.schedule.initial == full.initial * factor
    assert short.finetune.schedule.warmup_epochs == full.warmup_epochs / 4
    assert short.finetune.patience is None
    small = params(EVERYTHING, batch_size=4)
    assert trial.batch_factor(small, 28) == 1.0


def test_every_rate_of_a_schedule_is_scaled():
    cosine = Cosine(kind="cosine", initial=0.01, final=0.001, warmup_epochs=1.0)
    assert schedule_values.scale_rates(cosine, 0.5) == cosine.model_copy(update={"initial": 0.005, "final": 0.0005})
    stairs = Piecewise(kind="piecewise", boundaries=(4.0,), values=(0.1, 0.01), warmup_epochs=0.0)
    assert schedule_values.scale_rates(stairs, 0.5).values == (0.05, 0.005)


def test_the_first_trial_has_the_articles_values_the_second_those_of_params_yaml():
    chosen = params(EVERYTHING)
    assert space.first_trials(chosen.tune.space, chosen) == [space.baseline(chosen.tune.space, chosen)]
    document = chosen.model_dump(by_alias=True)
    document["train"] |= {"dropout": [0.3, 0.1], "l2": 0.001}
    other = parse_params(document)
    article, current = space.first_trials(other.tune.space, other)
    assert [article[f"train.dropout.{index}"] for index in (0, 1)] == [0.5, 0.25]
    assert (article["train.l2"], current["train.l2"], current["train.dropout.0"]) == (0.0005, 0.001, 0.3)


def test_unfreeze_points_are_in_the_order_of_what_they_train():
    made = space.distribution(
        "finetune.unfreeze", params(EVERYTHING).tune.space["finetune.unfreeze"], params(EVERYTHING)
    )
    assert made.choices == ("none", "block_13", "block_3", "all")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({}, ["tune.space", "empty", "train.l2"]),
        ({"train.epochs": {"choices": [1]}}, ["tune.space.train.epochs", "not searched", "train.dropout.0"]),
        ({"finetune.unfreeze": {"choices": ["all", "mixed5"]}}, ["tune.space.finetune.unfreeze", "mixed5", "block_16"]),
        ({"train.optimizer": {"choices": ["adam", "lion"]}}, ["tune.space.train.optimizer", "'lion'", "'sgd'"]),
        ({"train.optimizer": {"low": 0.1, "high": 0.2}}, ["tune.space.train.optimizer", "0.1", "'adam'"]),
        ({"train.dropout.0": {"low": 0.0, "high": 1.5}}, ["tune.space.train.dropout.0", "1.5", "less than 1"]),
        ({"train.l2": {"low": 0.001, "high": 0.1}}, ["tune.space.train.l2", "leaves out 0.0005", "widen"]),
        ({"finetune.unfreeze": {"choices": ["block_3"]}}, ["leaves out 'all'"]),
        ({"finetune.schedule.final": {"low": 0.0, "high": 0.1}}, ["schedule.final", "kind exponential has no final"]),
        ({space.KIND: {"choices": ["exponential", "linear"]}}, [space.KIND, "'linear'"]),
    ],
)
def test_what_makes_no_sense_is_named(entries, words):
    chosen = params(entries)
    with pytest.raises(UserError) as caught:
        space.check(chosen.tune.space, chosen)
    for word in words:
        assert word in str(caught.value)


def test_every_wrong_entry_is_told_at_once():
    chosen = params({"train.epochs": {"choices": [1]}, "train.dropout.0": {"low": 0.0, "high": 1.5}})
    with pytest.raises(UserError) as caught:
        space.check(chosen.tune.space, chosen)
    assert "train.epochs" in str(caught.value)
    assert "train.dropout.0" in str(caught.value)


def test_a_features_file_has_nothing_to_search():
    document = yaml.safe_load(TEXT)
    document["backbone"] |= {"name": "features_file", "alpha": 1.0, "weights": "clip.onnx", "rescaling": "clip"}
    document["finetune"]["unfreeze"] = "none"
    chosen = parse_params(document)
    with pytest.raises(UserError, match="no layers to train"):
        space.check(chosen.tune.space, chosen)
