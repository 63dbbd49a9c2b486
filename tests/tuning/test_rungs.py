"""The rungs of a search: which trials go on, and how well the rungs' orders agree."""

import optuna
import pytest
from optuna.trial import TrialState
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.params.root import Params, load_params, parse_params
from pipeline.params.tune import Choices, Rung
from pipeline.tuning import rung_plot, rungs, slots

DROPOUTS = (0.5, 0.1, 0.2, 0.3)  # the first is the article's, and params.yaml's own
SPACE = {"train.dropout.0": Choices(choices=DROPOUTS)}


@pytest.fixture
def params(project) -> Params:
    loaded = load_params()
    changes = {"trials": 4, "rungs": (Rung(trials=3, epochs=6, subset=0.5), Rung(trials=2, epochs=15, subset=1.0))}
    loaded = loaded.model_copy(update={"tune": loaded.tune.model_copy(update={**changes, "space": SPACE})})
    finetune = loaded.finetune.model_copy(update={"epochs": 15})
    return loaded.model_copy(update={"finetune": finetune})


def run(study: optuna.Study, params: Params, values: dict[float, float]) -> list[float]:
    """Run the trials that wait, each with the value of its dropout (None: pruned); return their dropouts."""
    slots.fill(study, params)
    drawn = []
    while any(one.state == TrialState.WAITING for one in study.get_trials()):
        one = study.ask()
        dropout = one.suggest_categorical("train.dropout.0", DROPOUTS)
        drawn.append(dropout)
        if values[dropout] is None:
            study.tell(one, state=TrialState.PRUNED)
        else:
            study.tell(one, values[dropout])
    return drawn


def begun(params: Params) -> optuna.Study:
    """A study whose first rung has every dropout once."""
    study = optuna.create_study(direction="maximize")
    for slot, dropout in enumerate(DROPOUTS):
        study.enqueue_trial({"train.dropout.0": dropout}, user_attrs={rungs.SLOT: slot})
    return study


def test_the_best_go_on_with_the_articles_values_until_the_last_rung(params):
    study = begun(params)
    assert run(study, params, {0.5: 0.1, 0.1: 0.2, 0.2: 0.3, 0.3: 0.4}) == list(DROPOUTS)
    state = slots.study_state(study, params)
    assert (state.total, state.finished, state.rung, state.ended) == (9, 4, 2, False)
    assert run(study, params, {0.5: 0.5, 0.2: 0.9, 0.3: 0.8}) == [0.5, 0.3, 0.2]
    assert run(study, params, {0.5: 0.7, 0.2: 0.6}) == [0.5, 0.2]
    slots.fill(study, params)
    state = slots.study_state(study, params)
    assert (state.total, state.finished, state.rung, state.ended) == (9, 9, 3, True)
    assert state.best.params == {"train.dropout.0": 0.5}  # the better of the last rung, though .2 had .9 in the second


def test_a_rung_waits_for_all_of_the_one_before(params):
    study = begun(params)
    running = study.ask()
    slots.fill(study, params)
    assert len(study.get_trials()) == 4
    study.tell(running, 0.5)
    slots.fill(study, params)
    assert len(study.get_trials()) == 4


def test_pruned_trials_do_not_go_on_and_a_rung_may_be_smaller(params):
    study = begun(params)
    run(study, params, {0.5: None, 0.1: 0.2, 0.2: None, 0.3: None})
    assert run(study, params, {0.5: 0.4, 0.1: 0.5}) == [0.5, 0.1]  # the article's all the same
    run(study, params, {0.5: 0.4, 0.1: 0.5})
    assert slots.study_state(study, params).ended


def test_more_trials_later_add_to_every_rung_what_is_better_now(params):
    study = begun(params)
    fewer = params.model_copy(update={"tune": params.tune.model_copy(update={"trials": 3})})
    study.get_trials()  # the fourth waits, beyond the three
    for dropout, value in zip(DROPOUTS[:3], (0.1, 0.2, 0.3), strict=True):
        one = study.ask()
        one.suggest_categorical("train.dropout.0", DROPOUTS)
        assert one.params == {"train.dropout.0": dropout}
        study.tell(one, value)
    slots.fill(study, fewer)
    waiting = [one.system_attrs["fixed_params"] for one in study.get_trials() if rungs.of_trial(one) == 1]
    assert waiting == [{"train.dropout.0": value} for value in (0.5, 0.2, 0.1)]
    run(study, params, {0.5: 0.1, 0.1: 0.2, 0.2: 0.3, 0.3: 0.4})
    slots.fill(study, params)
    second = [one.params or one.system_attrs["fixed_params"] for one in study.get_trials() if rungs.of_trial(one) == 1]
    assert second == [{"train.dropout.0": value} for value in (0.5, 0.2, 0.1, 0.3)]  # .3 joins them


def test_a_failed_trial_of_a_further_rung_comes_again_with_its_values(params):
    study = begun(params)
    run(study, params, {0.5: 0.1, 0.1: 0.2, 0.2: 0.3, 0.3: 0.4})
    slots.fill(study, params)
    study.tell(study.ask(), state=TrialState.FAIL)  # its worker died before it drew
    assert sorted(run(study, params, {0.5: 0.5, 0.2: 0.9, 0.3: 0.8})) == [0.2, 0.3, 0.5]
    assert slots.study_state(study, params).finished == 7


def test_orders_are_compared_where_both_rungs_have_the_trial(params):
    study = begun(params)
    run(study, params, {0.5: 0.1, 0.1: 0.2, 0.2: 0.3, 0.3: 0.4})
    run(study, params, {0.5: 0.5, 0.2: 0.9, 0.3: 0.8})
    agreement = rungs.agreement(study.get_trials(), 0)
    assert (agreement.trials, agreement.spearman) == (3, pytest.approx(0.5))
    assert rungs.agreement(study.get_trials(), 1) == rungs.Agreement(0, None)


def test_the_rungs_are_drawn(params, tmp_path):
    study = begun(params)
    run(study, params, {0.5: 0.1, 0.1: 0.2, 0.2: 0.3, 0.3: 0.4})
    run(study, params, {0.5: 0.5, 0.2: 0.9, 0.3: None})
    rung_plot.draw(study.get_trials(), params, tmp_path / "rungs.png")
    with Image.open(tmp_path / "rungs.png") as picture:
        assert picture.width > 800
        assert len(set(picture.convert("L").tobytes())) > 20


def test_a_trial_costs_its_share_of_epochs_and_pictures(params):
    assert [rungs.cost(params, index) for index in range(3)] == [pytest.approx(0.05), pytest.approx(0.2), 1.0]
    short = rungs.params_at(params, 1).tune
    assert (short.epochs, short.subset, short.trials) == (6, 0.5, 4)


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        ({"rungs": [{"trials": 3, "epochs": 1, "subset": 1.0}]}, "rung 2 has fewer epochs or pictures"),
        ({"rungs": [{"trials": 3, "epochs": 9, "subset": 0.1}]}, "rung 2 has fewer epochs or pictures"),
        ({"second": "size_mb"}, r"set tune.rungs to \[\]"),
    ],
)
def test_rungs_that_make_no_sense_are_refused(project, tune, words):
    document = load_params().model_dump(by_alias=True, mode="json")
    with pytest.raises(UserError, match=words):
        parse_params(document | {"tune": document["tune"] | tune})
