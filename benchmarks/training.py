"""Training compared with what it replaces. Each figure is the median of interleaved rounds of one run.

    python benchmarks/training.py augment --pictures DIR --size 224
    python benchmarks/training.py frozen  --pictures DIR --size 224 --weights FILE --rescaling unit --rounds 1
    python benchmarks/training.py steps   --pictures DIR --size 224 --weights FILE
    python benchmarks/training.py steps   --pictures DIR --size 299 --backbone inception_v3
    python benchmarks/training.py device  --backbone inception_v3 --size 299

augment  pictures a CPU second: ours, Keras' ImageDataGenerator (as nsfw_model has it), Keras' Random* layers.
frozen   the frozen phase to the same validation accuracy: ours (embed views once, train the head on them) and
         nsfw_model's loop (every picture through the whole network, augmented by ImageDataGenerator, every epoch).
steps    fine-tuning pictures a second with the real input against the same step on one batch held in memory.
device   step time, and the share of the device's matrix rate, frozen, from mixed5 and all, float32 and mixed.

DIR has a folder of pictures for each class. Peak memory is that of this process.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.images.decode import decode
from pipeline.images.limits import Limits
from pipeline.images.packing import encode
from pipeline.images.resize import to_square
from pipeline.model import augment, backbone, determinism, hardware, network, objective
from pipeline.params.augment import Augment
from pipeline.params.backbone import Backbone
from pipeline.params.train import Train
from pipeline.training import augmented_views, batches, packed_records
from pipeline.training.batches import Source
from pipeline.training.embeddings import Embeddings

ARTICLE = Augment(rotation=30.0, shift=0.2, shear=0.2, zoom=0.2, flip=True, channel_shift=20.0, crop=0.0)
HEAD = Train.model_construct(dropout=(0.5, 0.25), l2=0.0005)
LIMITS = Limits(50_000_000, 1, 100.0)
BATCH = 32


def load(folder: Path, size: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return up to `limit` pictures of each class as uint8 (n, size, size, 3), and their label indices, shuffled."""
    pixels, labels = [], []
    for index, class_folder in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in sorted(class_folder.iterdir())[:limit]:
            pixels.append(to_square(decode(path.read_bytes(), LIMITS).image, size))
            labels.append(index)
    order = np.random.default_rng(0).permutation(len(labels))
    return np.array(pixels)[order], np.array(labels)[order]


def article_generator() -> Any:
    """Return nsfw_model's ImageDataGenerator."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(
        rotation_range=30,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
        channel_shift_range=20.0,
    )


def rounds_of(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return each contender's median figure over interleaved rounds, after a warm-up round."""
    figures_of: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            figure = run()
            if number:
                figures_of[name].append(figure)
    return {name: statistics.median(figures) for name, figures in figures_of.items()}


def augmentation(options: argparse.Namespace) -> dict[str, float]:
    """Return pictures per CPU second."""
    pixels, _ = load(options.pictures, options.size, 40)
    pixels = pixels[: 4 * BATCH]
    rng, generator = np.random.default_rng(1), article_generator()
    layers = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(30 / 360, fill_mode="nearest"),
            keras.layers.RandomTranslation(0.2, 0.2, fill_mode="nearest"),
            keras.layers.RandomShear(0.0035, 0.0, fill_mode="nearest"),
            keras.layers.RandomZoom(0.2, 0.2, fill_mode="nearest"),
            keras.layers.RandomBrightness(20 / 255, value_range=(0, 255)),
        ]
    )
    random_layers = tf.function(lambda batch: layers(tf.cast(batch, tf.float32), training=True))

    def ours() -> None:
        for start in range(0, len(pixels), BATCH):
            batch = pixels[start : start + BATCH]
            augment.apply(batch, *augment.draw(rng, len(batch), ARTICLE, options.size))

    def theirs() -> None:
        for picture in pixels:
            generator.random_transform(picture.astype("float32"))

    def layered() -> None:
        for start in range(0, len(pixels), BATCH):
            random_layers(pixels[start : start + BATCH])

    def rate(run: Callable[[], None]) -> Callable[[], float]:
        def measured() -> float:
            began = time.process_time()
            run()
            return len(pixels) / (time.process_time() - began)

        return measured

    contenders = {"ours": rate(ours), "ImageDataGenerator": rate(theirs), "Random* layers": rate(layered)}
    medians = rounds_of(contenders, options.rounds)
    return medians | {f"ours / {name}": medians["ours"] / medians[name] for name in list(medians)[1:]}


def chosen_backbone(options: argparse.Namespace) -> Backbone:
    """Return the backbone's params."""
    return Backbone(
        name=options.backbone,
        alpha=options.alpha,
        weights=options.weights,
        weights_sha256=None,
        size=options.size,
        rescaling=options.rescaling,
    )


def frozen(options: argparse.Namespace) -> dict[str, float]:
    """Return wall seconds of the frozen phase, theirs over ours, to the accuracy that both reach."""
    pixels, labels = load(options.pictures, options.size, options.limit)
    cut = int(0.8 * len(labels))
    train, val = (pixels[:cut], labels[:cut]), (pixels[cut:], labels[cut:])
    classes = int(labels.max()) + 1
    ratios, ours_best, theirs_best = [], [], []
    for seed in range(options.rounds):
        determinism.seed(seed)
        theirs = article_loop(options, train, val, classes, seed)
        determinism.seed(seed)
        ours = embedded_loop(options, train, val, classes, seed)
        target = min(theirs[-1][1], ours[-1][1])
        seconds = [next(second for second, accuracy in curve if accuracy >= target) for curve in (theirs, ours)]
        ratios.append(seconds[0] / seconds[1])
        theirs_best.append(theirs[-1][1])
        ours_best.append(ours[-1][1])
    return {
        "theirs / ours, wall seconds": statistics.median(ratios),
        "best val accuracy, theirs": statistics.median(theirs_best),
        "best val accuracy, ours": statistics.median(ours_best),
    }


def best_so_far(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Turn (seconds, accuracy) into (seconds, best accuracy until then)."""
    best = np.maximum.accumulate([accuracy for _, accuracy in curve])
    return [(second, float(value)) for (second, _), value in zip(curve, best, strict=True)]


def article_loop(
    options: argparse.Namespace, train: Any, val: Any, classes: int, seed: int
) -> list[tuple[float, float]]:
    """Train the head as nsfw_model does; return (seconds, best val accuracy) after each epoch."""
    curve, began = [], time.perf_counter()
    embed = network.embedder(chosen_backbone(options))
    model = network.classifier(embed, network.head(embed.output_shape[-1], classes, HEAD, seed))
    objective.compile_model(model, 0.001, "adam", 0.9)
    flow = article_generator().flow(train[0].astype("float32"), train[1], batch_size=BATCH, seed=seed)
    for epoch in range(options.epochs):
        model.fit(flow, epochs=epoch + 1, initial_epoch=epoch, steps_per_epoch=-(-len(train[1]) // BATCH), verbose=0)
        answers = model.predict(val[0], batch_size=BATCH, verbose=0)
        curve.append((time.perf_counter() - began, float((answers.argmax(axis=1) == val[1]).mean())))
    return best_so_far(curve)


def embedded_loop(
    options: argparse.Namespace, train: Any, val: Any, classes: int, seed: int
) -> list[tuple[float, float]]:
    """Embed once, as the stage does, then train the head; return (seconds, best val accuracy) after each epoch."""
    began = time.perf_counter()
    embed = network.embedder(chosen_backbone(options))

    def features_of(pictures: np.ndarray, view: int) -> np.ndarray:
        parts = []
        for start in range(0, len(pictures), BATCH):
            rows = np.arange(start, min(start + BATCH, len(pictures)))
            full = np.resize(rows, BATCH)  # whole batches, filled up with the same pictures again
            batch = pictures[full]
            if view:
                draws = augmented_views.draw_views([f"{row:064x}" for row in full], view, ARTICLE, options.size, seed)
                batch = augment.apply(batch, *draws)
            parts.append(embed.predict_on_batch(batch)[: len(rows)])
        return np.concatenate(parts)

    features = np.stack([features_of(train[0], view) for view in range(options.views + 1)])
    embedded = Embeddings.of_array(features, np.arange(len(train[1])).astype(str), train[1])
    val_features = features_of(val[0], 0)
    head = network.head(features.shape[-1], classes, HEAD, seed)
    objective.compile_model(head, 0.001, "adam", 0.9)
    curve = []
    for epoch in range(4 * options.epochs):
        head.fit(batches.from_embeddings(embedded, BATCH, seed, epoch), verbose=0)
        answers = head.predict(val_features, batch_size=1024, verbose=0)
        curve.append((time.perf_counter() - began, float((answers.argmax(axis=1) == val[1]).mean())))
    return best_so_far(curve)


def steps(options: argparse.Namespace) -> dict[str, float]:
    """Return pictures per second with the real input, and the same over the step on one batch in memory."""
    pixels, labels = load(options.pictures, options.size, options.limit)
    determinism.seed(1)
    model = unfrozen(options, int(labels.max()) + 1)
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "train-00000.tfrecord"
        rows = (
            (f"{n:064x}", int(labels[n]), encode(Image.fromarray(pixels[n]), "png", 95)) for n in range(len(labels))
        )
        packed_records.write(packed, rows)
        sources = {
            "kept in memory": Source.open([str(packed)], len(labels), options.size, 1 << 20),
            "streamed": Source.open([str(packed)], len(labels), options.size, 0),
        }
        held = tf.constant(pixels[:BATCH], tf.float32), tf.constant(labels[:BATCH])
        count = max(2, options.steps)

        def in_memory() -> float:
            endless = iter(tf.data.Dataset.from_tensors(held).repeat())
            return timed(endless)

        def timed(iterator: Any) -> float:
            model.train_function(iterator)
            began = time.perf_counter()
            for _ in range(count):
                logs = model.train_function(iterator)
            float(logs["loss"])
            return count * BATCH / (time.perf_counter() - began)

        def real(source: Source) -> Callable[[], float]:
            epoch = iter(range(10_000))

            def measured() -> float:
                made = batches.from_pictures(source, ARTICLE, BATCH, 1, next(epoch))
                return timed(iter(made.repeat()))

            return measured

        model.make_train_function()
        contenders = {"one batch": in_memory} | {name: real(source) for name, source in sources.items()}
        medians = rounds_of(contenders, options.rounds)
    return medians | {f"{name} / one batch": medians[name] / medians["one batch"] for name in sources}


def unfrozen(options: argparse.Namespace, classes: int, point: str | None = None, precision: str = "float32") -> Any:
    """Return a compiled classifier, trainable after `point`."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    embed = network.embedder(chosen_backbone(options))
    model = network.classifier(embed, network.head(embed.output_shape[-1], classes, HEAD, 1))
    keras.config.set_dtype_policy(policy)
    backbone.unfreeze(model.get_layer(backbone.NAME), options.backbone, point or options.unfreeze, batchnorm="frozen")
    objective.compile_model(model, 1e-4, "adam", 0.9, jit=hardware.jit_compile(wanted="auto"))
    return model


def device(options: argparse.Namespace) -> dict[str, float]:
    """Return milliseconds per step of synthetic pictures, and the share of the matrix rate, by point and precision."""
    figures = {}
    shape = (options.batch, options.size, options.size, 3)
    pixels = tf.random.uniform(shape, 0, 255)
    labels = tf.random.uniform((options.batch,), 0, 5, tf.int64)
    forward = forward_flops(options)
    for precision in ("float32", "bfloat16"):
        peak = matrix_rate(tf.as_dtype(precision))
        for point, passes in (("none", 1.0), ("mixed5", None), ("all", 3.0)):
            if options.backbone != "inception_v3" and point == "mixed5":
                continue
            model = unfrozen(options, 5, point, precision)
            model.train_on_batch(pixels, labels)
            times = []
            for _ in range(options.rounds):
                began = time.perf_counter()
                for _ in range(10):
                    logs = model.train_on_batch(pixels, labels)
                float(logs)
                times.append((time.perf_counter() - began) / 10)
            seconds = statistics.median(times)
            figures[f"{precision}, {point}: ms a step"] = 1000 * seconds
            if passes is not None:
                figures[f"{precision}, {point}: share of the matrix rate"] = (
                    passes * forward * options.batch / seconds / peak
                )
    return figures


def forward_flops(options: argparse.Namespace) -> float:
    """Return the floating-point operations of one picture's forward pass, as TensorFlow's profiler counts them."""
    embed = network.embedder(chosen_backbone(options))
    traced = tf.function(lambda x: embed(x, training=False)).get_concrete_function(
        tf.TensorSpec((1, options.size, options.size, 3))
    )
    from tensorflow.python.profiler import model_analyzer, option_builder

    settings = option_builder.ProfileOptionBuilder(option_builder.ProfileOptionBuilder.float_operation())
    counted = model_analyzer.profile(traced.graph, options=settings.with_empty_output().build())
    return float(counted.total_float_ops)


def matrix_rate(kind: Any) -> float:
    """Return the floating-point operations a second of large matrix products on this device."""
    side = 4096 if tf.config.list_physical_devices("GPU") else 1024
    left = tf.cast(tf.random.normal((side, side)), kind)
    product = tf.function(lambda a: tf.linalg.matmul(a, a), jit_compile=False)
    product(left).numpy()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(10):
            out = product(left)
        out.numpy()
        times.append((time.perf_counter() - began) / 10)
    return 2 * side**3 / statistics.median(times)


def main() -> None:
    """Run one benchmark and print its figures, as JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs = {"augment": augmentation, "frozen": frozen, "steps": steps, "device": device}
    parser.add_argument("benchmark", choices=runs)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--weights")
    parser.add_argument("--rescaling", choices=("symmetric", "unit"))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--unfreeze", default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=60, help="pictures a class")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    if options.benchmark != "device" and not (options.pictures and options.pictures.is_dir()):
        parser.error("--pictures DIR: a folder with a folder of pictures for each class")
    medians = runs[options.benchmark](options)
    medians["peak memory, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, value in medians.items():
        print(f"{name:45} {value:10.3f}")
    print(json.dumps({name: round(value, 4) for name, value in medians.items()}))


if __name__ == "__main__":
    main()
