"""Pictures per second of `nsfw score`, of the network alone and of nsfw_model's predict.py, on the same folder.

    python -P benchmarks/scoring.py PHOTOGRAPHS [--pictures 512] [--rounds 3]

PHOTOGRAPHS is any folder of JPEGs. A MobileNetV2 of 224 px (with random weights, which are as fast) scores them, and
copies of them at 1280 px. Every round runs each contender once, in turn, so that other load on the machine affects
all alike. The table shows medians of wall time, after a warm-up.

`score`: decode in limited workers, sha256, network, parts, parquet. `raw`: the network alone, batches of 32 in memory.
`keras`: as nsfw_model's predict.py, load_img of each file, all in one array, model.predict.
Expected on 2 idle cores, of score: 0.8 of raw; 1.2 times keras on photographs of 256 px, 1.5 times on 1280 px.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.batch_scoring import scoring
from pipeline.images.limits import Limits
from pipeline.images.preprocessing import Preprocessor
from pipeline.params.root import load_params
from pipeline.registry.verification import OpenedModel
from pipeline.serving.classifier import BATCH, Classifier
from pipeline.tracking.lineage import digest

SIZE = 224
LABELS = ("a", "b", "c", "d", "e")
_PARAMS = Path(__file__).parents[1] / "params.yaml"


@dataclass(frozen=True)
class Loaded(OpenedModel):
    """A version whose network is loaded once, as a service's is."""

    @cached_property
    def _loaded(self) -> Classifier:
        return super().classifier()

    def classifier(self) -> Classifier:
        """Return the same classifier each time."""
        return self._loaded


def version(folder: Path) -> Loaded:
    """Save a network as a version, and load it."""
    import keras  # not above: the workers import this file

    keras.utils.set_random_seed(1)
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), pooling="avg")
    inputs = keras.Input((SIZE, SIZE, 3))
    outputs = keras.layers.Dense(len(LABELS), activation="softmax")(base(keras.layers.Rescaling(1 / 255)(inputs)))
    keras.Model(inputs, outputs).save(folder / "model.keras")
    spec = {"labels": list(LABELS), "unsafe": ["a"], "size": SIZE, "model_sha256": digest(folder / "model.keras")}
    return Loaded("benchmark", 0, folder, spec)


def copies(source: Path, pictures: int, folder: Path, side: int | None) -> list[Path]:
    """Copy `pictures` pictures to `folder`, enlarged to `side` px on the longer side if given."""
    folder.mkdir()
    made = []
    for path in sorted(source.rglob("*.jpg"))[:pictures]:
        target = folder / f"{len(made):05}.jpg"
        if side is None:
            shutil.copyfile(path, target)
        else:
            image = Image.open(path).convert("RGB")
            scale = side / max(image.size)
            image.resize((round(image.width * scale), round(image.height * scale))).save(target, quality=90)
        made.append(target)
    return made


def contenders(model: Loaded, files: list[Path], scratch: Path) -> dict[str, Callable[[], object]]:
    """Return the contenders by name: functions that score all files."""
    import keras
    import tensorflow as tf

    params = load_params(_PARAMS)
    network = keras.saving.load_model(model.model_file, compile=False)
    preprocessor = Preprocessor(Limits(), SIZE)
    squares = np.stack([preprocessor.from_bytes(path.read_bytes()) for path in files]).astype(np.float32)
    batches = [tf.constant(squares[start : start + BATCH]) for start in range(0, len(squares), BATCH)]
    answer = tf.function(lambda pixels: network(pixels, training=False), reduce_retracing=True)

    def score() -> object:
        job = scoring.Job((os.fsencode(files[0].parent),), scratch / "scores.parquet", restart=True)
        return scoring.score(model, params, job)

    def raw() -> object:
        return [np.asarray(answer(batch)) for batch in batches]

    def peer() -> object:
        load = keras.utils.load_img
        arrays = [keras.utils.img_to_array(load(path, target_size=(SIZE, SIZE))) / 255 for path in files]
        return network.predict(np.asarray(arrays), verbose=0)

    return {"score": score, "raw": raw, "keras": peer}


def measure(runs: dict[str, Callable[[], object]], pictures: int, rounds: int) -> dict[str, float]:
    """Return the median pictures per second of each, without the first round (warm-up)."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, ask in runs.items():
            begun = time.perf_counter()
            ask()
            seconds[name].append(time.perf_counter() - begun)
    return {name: pictures / statistics.median(taken[1:]) for name, taken in seconds.items()}


def main() -> None:
    """Measure both sets; print a table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios = {}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        model = version(scratch)
        print(f"{'pictures':<12}{'score':>10}{'raw':>10}{'keras':>10}{'to raw':>10}{'to keras':>10}")
        for name, side in (("as they are", None), ("1280 px", 1280)):
            files = copies(options.photographs, options.pictures, scratch / name, side)
            rates = measure(contenders(model, files, scratch), len(files), options.rounds)
            to_raw, to_keras = rates["score"] / rates["raw"], rates["score"] / rates["keras"]
            shown = "".join(f"{rates[key]:>10.1f}" for key in ("score", "raw", "keras"))
            print(f"{name:<12}{shown}{to_raw:>10.2f}{to_keras:>10.2f}")
            ratios |= {f"score_to_raw_{side or 256}": to_raw, f"score_to_keras_{side or 256}": to_keras}
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
