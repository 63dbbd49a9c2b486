import json

import pytest

from pipeline.model import hardware

WORKERS = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    ("cluster", "task", "chief"),
    [
        (None, None, True),
        ({"worker": ["a:1"]}, {"type": "worker", "index": 0}, True),
        (WORKERS, {"type": "worker", "index": 0}, True),
        (WORKERS, {"type": "worker", "index": 1}, False),
        (WORKERS | {"chief": ["c:1"]}, {"type": "worker", "index": 0}, False),
        (WORKERS | {"chief": ["c:1"]}, {"type": "chief", "index": 0}, True),
    ],
)
def test_one_process_of_a_cluster_writes(cluster, task, chief, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if cluster:
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert hardware.is_chief() == chief


def test_what_is_asked_for_is_used():
    assert [hardware.precision(name) for name in ("float32", "float16", "bfloat16")] == [
        "float32",
        "float16",
        "bfloat16",
    ]
    assert [hardware.jit_compile(wanted=wanted) for wanted in (True, False)] == [True, False]
    assert hardware.strategy().num_replicas_in_sync >= 1


@pytest.mark.parametrize(("gpu", "hidden", "warned"), [(True, None, True), (True, "-1", False), (False, None, False)])
def test_a_gpu_that_tensorflow_leaves_idle_is_named(gpu, hidden, warned, monkeypatch, caplog):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.setattr("pipeline.core.tensorflow_log.has_gpu", lambda: gpu)
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda _: [])
    hardware.strategy()
    assert ("TensorFlow uses none" in caplog.text) == warned
