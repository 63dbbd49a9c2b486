"""What TensorFlow writes to the screen: nothing without a GPU, and with a GPU only messages about it."""

import os
import subprocess
import sys

import pytest

from pipeline.core import tensorflow_log

GREETINGS = b"""\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1.2    9297 port.cc:153] oneDNN custom operations are on. You may see slightly different numerical results
E0000 00:00:1.2    9297 cuda_dnn.cc:85] Unable to register cuDNN factory: Attempting to register factory for plugin
W0000 00:00:1.2    9297 computation_placer.cc:177] computation placer already registered. Please check linkage
"""
NO_DRIVER = b"I0000 00:00:1.2 97 stub.cc:31] Could not find cuda drivers on your machine, GPU will not be used.\n"
REAL = b"""\
E0000 00:00:1.2    9297 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: no CUDA-capable device
F0000 00:00:1.2    9297 cpu_feature_guard.cc:38] The TensorFlow library was compiled to use AVX instructions
"""


@pytest.mark.parametrize(("gpu", "shown"), [(False, REAL), (True, NO_DRIVER + REAL)])
def test_greetings_are_dropped_and_nothing_else(capfdbinary, gpu, shown):
    with tensorflow_log.drop_lines(tensorflow_log.noise_pattern(gpu=gpu)):
        os.write(2, GREETINGS + NO_DRIVER + REAL)
    assert capfdbinary.readouterr().err == shown


def test_what_was_written_before_an_error_is_shown(capfdbinary):
    written = b"libcudart.so.12: cannot open shared object file"

    @tensorflow_log.drop_lines(tensorflow_log.noise_pattern(gpu=False))
    def load():
        os.write(2, written)
        raise ImportError

    with pytest.raises(ImportError):
        load()
    assert capfdbinary.readouterr().err == written


@pytest.mark.parametrize("device", ["nvidia0", "nvidiactl", "dxg", "nvmap"])
def test_a_gpu_is_seen_by_its_device(tmp_path, device):
    (tmp_path / "nvme0").touch()
    assert not tensorflow_log.has_gpu(tmp_path)
    (tmp_path / device).touch()
    assert tensorflow_log.has_gpu(tmp_path)


_IMPORT = """
import os, sys
from pipeline.core import tensorflow_log
tensorflow_log.has_gpu = lambda: {gpu}
tensorflow_log.silence()
import keras, tensorflow as tf
tf.config.list_physical_devices("GPU")
print(os.environ["TF_CPP_MIN_LOG_LEVEL"], type(tf.__spec__.loader).__name__)
"""


def imported(*, gpu: bool = False, **level: str) -> tuple[str, str]:
    plain = {name: value for name, value in os.environ.items() if name != tensorflow_log.LEVEL}
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT.format(gpu=gpu)], capture_output=True, text=True, check=True, env=plain | level
    )
    return done.stdout, done.stderr


without_gpu = pytest.mark.skipif(tensorflow_log.has_gpu(), reason="has a GPU, of which TensorFlow may tell")


@without_gpu
def test_tensorflow_and_keras_import_and_look_for_devices_without_a_line():
    assert imported() == ("3 SourceFileLoader\n", "")


@without_gpu
def test_where_there_is_a_gpu_its_errors_are_shown():
    out, err = imported(gpu=True)
    assert out == "2 SourceFileLoader\n"
    assert "failed call to cuInit" in err
    assert "Could not find cuda drivers" in err
    assert "oneDNN" not in err


def test_whoever_asks_for_the_log_gets_all_of_it():
    out, err = imported(TF_CPP_MIN_LOG_LEVEL="0", TF_ENABLE_ONEDNN_OPTS="1")  # old processors have none by themselves
    assert out == "0 SourceFileLoader\n"
    assert "oneDNN" in err
