import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.model import backbone, network
from pipeline.params.root import load_params
from pipeline.stages import finetune
from pipeline.tracking.run_record import RunRecord
from pipeline.training import packed_records
from pipeline.training.validation_batches import Validation

pytestmark = pytest.mark.untraced  # whole trainings; tests/stages/test_train.py runs the same lines


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
def test_the_same_seed_gives_the_same_weights_and_metrics_whatever_run_of_other_params_was_interrupted(
    project_copy, caplog
):
    before, lines = weights(), epochs(RunRecord.load(paths.FINETUNED))
    folder = paths.CHECKPOINTS / "finetune-0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "current.npz").write_bytes(b"of other params")
    with caplog.at_level(logging.WARNING):
        finetune.main()
    assert "interrupted finetune of other params, data or code: starting from the beginning" in caplog.text
    record = RunRecord.load(paths.FINETUNED)
    assert record.document["resumed"] == 0
    assert all(np.array_equal(left, right) for left, right in zip(before, weights(), strict=True))
    assert epochs(record) == lines


def weights() -> list[np.ndarray]:
    return network.load(paths.FINETUNED / "model.keras").get_weights()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_to_the_same_weights_under_the_same_record(project_copy, how):
    straight, lines = weights(), epochs(RunRecord.load(paths.FINETUNED))  # of a run with hardly a checkpoint
    change("checkpoint", every_minutes=1e-6)  # another checkpoint after each batch
    process = subprocess.Popen([sys.executable, "-m", "pipeline", "finetune"], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(paths.CHECKPOINTS.glob("finetune-*/previous.npz")):
        time.sleep(0.02)
    process.send_signal(how)
    _, output = process.communicate()
    assert process.returncode == (1 if how == signal.SIGTERM else -signal.SIGKILL)
    assert ("`dvc repro` goes on" in output) == (how == signal.SIGTERM)
    (folder,) = paths.RUNS.iterdir()

    finetune.main()
    assert all(np.array_equal(left, right) for left, right in zip(weights(), straight, strict=True))
    record = RunRecord.load(paths.FINETUNED)
    assert (record.id, record.status, record.document["resumed"]) == (folder.name, "FINISHED", 1)
    assert epochs(record) == lines
    assert not list(paths.CHECKPOINTS.iterdir())


def test_a_course_that_forgets_ends_at_its_start_and_says_so(project_copy, caplog):
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["finetune"] |= {"epochs": 1, "batch_size": 8, "keep_start": True}
    document["finetune"]["schedule"] |= {"initial": 0.05, "warmup_epochs": 0.0}
    paths.PARAMS.write_text(yaml.safe_dump(document), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        finetune.main()
    assert "finetune: NO EPOCH IS BETTER than the model that it began with" in caplog.text
    head = network.load(paths.HEAD / "model.keras").get_weights()
    assert all(np.array_equal(left, right) for left, right in zip(weights(), head, strict=True))
    record = RunRecord.load(paths.FINETUNED)
    summary = record.summary()
    assert summary["best_epoch"] == -1
    assert summary["start_val_macro_recall"] == summary["best_val_macro_recall"] > epochs(record)[0]["val_macro_recall"]
    assert len(epochs(record)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"precision": "bfloat16"}, marks=pytest.mark.rare),
        pytest.param(
            {"precision": "float16", "clip_norm": 1.0, "augment_on": "accelerator", "class_weights": "effective"},
            marks=pytest.mark.rare,
        ),
        {"label_smoothing": 0.1, "memory_mb": 0, "patience": 1, "optimizer": "sgd", "class_weights": "balanced"},
    ],
    ids=" ".join,
)
def test_however_it_is_computed_the_model_is_the_same_kind(project_copy, options):
    change("finetune", **options)
    finetune.main()
    model, record = network.load(paths.FINETUNED / "model.keras"), RunRecord.load(paths.FINETUNED)
    assert model.input_shape == (None, 32, 32, 3)
    assert [layer.name for layer in model.layers] == ["pixels", "rescaling", "backbone", "pool", "head"]
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert record.status == "FINISHED"
    assert all(np.isfinite(line["loss"]) for line in epochs(record))
    before = network.load(paths.HEAD / "model.keras").get_weights()
    moved = [not np.array_equal(left, right) for left, right in zip(model.get_weights(), before, strict=True)]
    assert any(moved)
    assert not all(moved)
    val = Validation(packed_records.packed_files(paths.PACKED, "val"), 1, 32, 64)
    recall = [(val.predict(model).argmax(axis=1)[val.truth == k] == k).mean() for k in range(3)]
    summary = record.metrics()[-1]["metrics"]
    assert np.mean(recall) == pytest.approx(summary["best_val_macro_recall"], abs=0.1)  # in half precision it was


def dead_head() -> None:
    """A model of the head stage whose head has learned nothing: over random features, L2 shrinks it to zero."""
    change("backbone", weights=None)
    change("finetune", unfreeze="all", epochs=1)
    dead = network.load(paths.HEAD / "model.keras")
    dead.get_layer("head").set_weights([np.zeros_like(value) for value in dead.get_layer("head").get_weights()])
    network.save(dead, paths.HEAD / "model.keras")


def alive(model: Any) -> bool:
    """Whether no layer of the head is at zero, where the gradient vanishes."""
    return all(np.abs(kernel).mean() > 1e-3 for kernel in model.get_layer("head").get_weights()[::2])


def test_from_scratch_the_head_begins_anew(project_copy):
    dead_head()
    assert not alive(network.load(paths.HEAD / "model.keras"))
    assert alive(finetune.start(load_params()))


@pytest.mark.slow
@pytest.mark.rare  # half a minute of tracing gradients of every layer
def test_from_scratch_the_whole_network_is_trained(project_copy):
    dead_head()
    finetune.main()
    assert alive(network.load(paths.FINETUNED / "model.keras"))
    assert [line["epoch"] for line in RunRecord.load(paths.FINETUNED).metrics()] == [None, 0, None]


@pytest.mark.slow
@pytest.mark.rare
def test_two_machines_train_one_model(project_copy):
    """Two local workers by TF_CONFIG; the second has no MLflow and writes nothing."""
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}

    def begin(index: int) -> subprocess.Popen:
        environment = os.environ | {
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        }
        command = [sys.executable, "-m", "pipeline", "finetune"]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    shutil.rmtree(paths.FINETUNED)
    workers = [begin(index) for index in range(2)]
    outputs = [worker.communicate(timeout=240)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert "over 2 device(s)" in outputs[0]
    record = RunRecord.load(paths.FINETUNED)
    assert record.status == "FINISHED"
    assert [line["epoch"] for line in record.metrics()] == [None, 0, 1, None]  # the start, two epochs, the result
    assert len(list(paths.RUNS.iterdir())) == 1
    assert not list(paths.CHECKPOINTS.iterdir())
    assert all(np.isfinite(value).all() for value in weights())


@pytest.mark.parametrize(
    "section", [{"labels": {"names": ["drawings", "neutral"], "unsafe": ["neutral"]}}, {"backbone": {"size": 64}}]
)
def test_a_head_made_for_something_else_is_refused(project_copy, section):
    for name, values in section.items():
        change(name, **values)
    with pytest.raises(UserError, match=r"model\.keras was made for other labels or another size.*dvc repro train"):
        finetune.main()
    assert not paths.RUNS.exists()
