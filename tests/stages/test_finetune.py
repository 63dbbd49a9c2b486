import numpy as np
import pytest
import yaml

from pipeline import paths
from pipeline.errors import UserError
from pipeline.model import backbone, network
from pipeline.params import load_params
from pipeline.stages import finetune
from pipeline.tracking.record import RunRecord


def epochs(record: RunRecord) -> list[dict[str, float]]:
    return [line["metrics"] for line in record.metrics() if line["epoch"] is not None]


def change(section: str, **values) -> None:
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document[section] |= values
    paths.PARAMS.write_text(yaml.safe_dump(document), encoding="utf-8")


def test_the_record_has_every_epoch_with_its_decaying_rate(in_project):
    record, schedule = RunRecord.load(paths.FINETUNED), load_params().finetune.schedule
    assert (record.status, record.kind) == ("FINISHED", "finetune")
    lines = epochs(record)
    assert len(lines) == 2
    rates = [schedule.initial * schedule.rate ** (epoch / schedule.every_epochs) for epoch in (1, 2)]
    assert [line["learning_rate"] for line in lines] == pytest.approx(rates, rel=1e-4)
    for line in lines:
        assert {"loss", "val_loss", "val_macro_recall", "val_recall/drawings", "val_recall/porn"} <= line.keys()
    assert record.metrics()[-1]["metrics"]["best_val_macro_recall"] == max(line["val_macro_recall"] for line in lines)


def test_only_what_lies_after_the_point_has_moved(in_project):
    frozen, tuned = (
        network.load(folder / "model.keras").get_layer(backbone.NAME) for folder in (paths.HEAD, paths.FINETUNED)
    )
    names = [layer.name for layer in frozen.layers]
    after = names.index("block_14_add") + 1
    moved = [
        name
        for name, left, right in zip(names, frozen.layers, tuned.layers, strict=True)
        if any(not np.array_equal(a, b) for a, b in zip(left.get_weights(), right.get_weights(), strict=True))
    ]
    assert moved
    assert min(map(names.index, moved)) >= after
    assert not [name for name in moved if "BN" in name or name.endswith("_bn")]
    assert "Conv_1" in moved


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_metrics(project_copy):
    before, lines = network.load(paths.FINETUNED / "model.keras").get_weights(), epochs(RunRecord.load(paths.FINETUNED))
    finetune.main()
    after = network.load(paths.FINETUNED / "model.keras").get_weights()
    assert all(np.array_equal(left, right) for left, right in zip(before, after, strict=True))
    assert epochs(RunRecord.load(paths.FINETUNED)) == lines


@pytest.mark.parametrize(
    "section", [{"labels": {"names": ["drawings", "neutral"], "unsafe": ["neutral"]}}, {"backbone": {"size": 64}}]
)
def test_a_head_made_for_something_else_is_refused(project_copy, section):
    for name, values in section.items():
        change(name, **values)
    with pytest.raises(UserError, match=r"model\.keras was made for other labels or another size.*dvc repro train"):
        finetune.main()
    assert not paths.RUNS.exists()
