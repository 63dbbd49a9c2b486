"""The commands that import weights and models, or export the backbone: import-*, export-backbone."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.terminal import Json, print_result
from pipeline.core import paths
from pipeline.core.errors import UserError

_MODEL_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"  # as register.model


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to the `nsfw` command, under a heading of its help."""
    for command in (export_backbone, import_weights, import_model):
        app.command(command.__name__.replace("_", "-"), rich_help_panel=panel)(command)


def export_backbone(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A name that ends in .weights.h5.")],
    as_json: Json = False,
) -> None:
    """Write the fine-tuned model's backbone as a weights file, with its recipe beside it."""
    from pipeline.core.files import check_target, read_object
    from pipeline.model.backbone_export import export_backbone as export
    from pipeline.params.root import load_params
    from pipeline.tracking.record_document import flatten
    from pipeline.tracking.run_record import RunRecord

    check_target(out)
    record = RunRecord.load(paths.FINETUNED)
    figures = [f"finetuned.{key}" for key in ("accuracy", "macro_recall", "loss", "pictures")]
    measured = read_object(paths.METRICS / "evaluate.json", *figures)["finetuned"]
    recipe = {
        "made_by": "dvc repro && nsfw export-backbone",
        "test": {key: round(measured[key], 4) for key in ("accuracy", "macro_recall", "loss")}
        | {"pictures": measured["pictures"]},
        "params": record.document["params"] | flatten(load_params().model_dump(include={"split", "pack"})),
        "splits": _counts(),
    }
    described = export(paths.FINETUNED / paths.MODEL_FILE, out, recipe)
    size = out.stat().st_size
    print_result(
        {"weights": str(out), "bytes": size, "recipe": str(described)},
        [f"wrote {out} ({size / 1e6:.2f} MB) and {described}", f"next: set backbone.weights to {out} in params.yaml"],
        as_json=as_json,
    )


def _counts() -> dict[str, int]:
    from pipeline.core.files import read_object

    counts = read_object(paths.METRICS / "split.json", "pictures.train", "pictures.val", "pictures.test")["pictures"]
    return {split: sum(by_label.values()) for split, by_label in counts.items()}


def import_weights(
    model_json: Annotated[
        Path, typer.Argument(metavar="MODEL_JSON", help="A TensorFlow.js layers model, such as that of nsfwjs.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A name that ends in .weights.h5.")],
    alpha: Annotated[float, typer.Option(help="MobileNetV2's width.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Convert the MobileNetV2 or the Inception v3 of nsfwjs to Keras backbone weights for a warm start."""
    from pipeline.core.files import check_target
    from pipeline.params.backbone import MOBILENET_ALPHAS

    if alpha not in MOBILENET_ALPHAS:
        raise typer.BadParameter(f"--alpha is one of {', '.join(map(str, MOBILENET_ALPHAS))}, not {alpha:g}")
    if not out.name.endswith(".weights.h5"):
        raise UserError(f"{out}: Keras weights files end in .weights.h5. Choose such a name.")
    check_target(out)
    from pipeline.model.backbone_export import save_weights
    from pipeline.model_import import inception_weights, tfjs_weights

    if inception_weights.holds_inception(model_json):
        if alpha != 1.0:
            raise typer.BadParameter(f"--alpha is MobileNetV2's width, and {model_json} is an Inception v3")
        network, (backbone, size) = "inception_v3", inception_weights.inception_v3_backbone(model_json)
    else:
        network, size = "mobilenet_v2", 224
        backbone = tfjs_weights.mobilenet_v2_backbone(tfjs_weights.read_weights(model_json), alpha, size=size)
    save_weights(backbone, out)
    section = f"{{name: {network}, alpha: {alpha:g}, weights: {out}, size: {size}, rescaling: unit}}"
    lines = [f"wrote {out}", f"next: in params.yaml, backbone: {section}"]
    print_result({"weights": str(out), "network": network, "size": size}, lines, as_json=as_json)


class ForeignFormat(StrEnum):
    """The formats that `nsfw import-model` reads."""

    tfjs = "tfjs"
    keras = "keras"
    saved_model = "saved_model"
    onnx = "onnx"


class Rescaling(StrEnum):
    """How a foreign model expects pixel values."""

    none = "none"
    unit = "unit"
    symmetric = "symmetric"
    imagenet = "imagenet"


class ResizeMode(StrEnum):
    """How a picture became a foreign model's square input."""

    squash = "squash"
    crop = "crop"
    pad = "pad"


class Channels(StrEnum):
    """The order of the colours in a model's input."""

    rgb = "rgb"
    bgr = "bgr"


class Outputs(StrEnum):
    """What a foreign model returns."""

    probabilities = "probabilities"
    logits = "logits"
    probability = "probability"
    logit = "logit"


def import_model(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="model.json, .keras, .onnx, or a SavedModel's folder.")],
    *,
    fmt: Annotated[ForeignFormat | None, typer.Option("--format", help="Guessed if not given.")] = None,
    classes: Annotated[str | None, typer.Option(help="Its classes, a,b,c, in the order of its outputs.")] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--map", help="THEIRS=OURS; several of one class are added up. Repeatable.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="The version's labels, if it does not answer ours: safe,unsafe, say.")
    ] = None,
    unsafe: Annotated[str | None, typer.Option(help="Which of --labels are unsafe, a,b.")] = None,
    rescaling: Annotated[
        Rescaling | None, typer.Option(help="Of pixel values: none (0..255), unit (0..1), symmetric (-1..1).")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Or: a,b,c, subtracted from 0..255, in the order of its channels.")
    ] = None,
    deviation: Annotated[str | None, typer.Option(help="With --mean: a,b,c, divided by then.")] = None,
    resize: Annotated[
        ResizeMode, typer.Option(help="Of its training: squash, crop (the middle), pad (with black).")
    ] = ResizeMode.squash,
    resize_side: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Resize to this first, then take the middle, px.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, max=4096, help="Side of its input, px.")] = None,
    channels: Annotated[Channels, typer.Option(help="The order of its input.")] = Channels.rgb,
    outputs: Annotated[
        Outputs, typer.Option(help="What it returns; probability, logit: one output, of the last of two labels.")
    ] = Outputs.probabilities,
    sha256: Annotated[str | None, typer.Option(help="The digest that the file must have.")] = None,
    max_mb: Annotated[int, typer.Option(min=1, max=2**20, help="Refuse larger ones, MiB.")] = 1024,
    name: Annotated[str | None, typer.Option(help="Registered model; register.model if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Register an existing model from elsewhere, to compare with. It is inspected before it is loaded."""
    chosen = {"format": fmt, "rescaling": rescaling, "channels": channels, "outputs": outputs}
    options = {name: None if value is None else str(value) for name, value in chosen.items()}
    if odd := [pair for pair in rename or [] if not all(pair.partition("="))]:
        raise typer.BadParameter(f"--map is THEIRS=OURS, not {odd[0]}")
    if name is not None and not re.fullmatch(_MODEL_NAME, name):
        raise typer.BadParameter(f"--name {name}: use letters, digits, '.', '_' and '-'")
    declared: dict[str, Any] = {"mean": _triple("--mean", mean), "deviation": _triple("--deviation", deviation)}
    from pipeline.data import project
    from pipeline.images.resize import Resize
    from pipeline.model_import import importing
    from pipeline.model_import.options import ImportOptions
    from pipeline.params.root import load_params
    from pipeline.tracking.server import prepare_environment

    project.check_root()
    prepare_environment()
    declared |= {**options, "size": size, "sha256": sha256, "max_mb": max_mb}
    for name_of_option, text in (("classes", classes), ("labels", labels), ("unsafe", unsafe)):
        declared[name_of_option] = tuple(word.strip() for word in text.split(",")) if text else None
    declared["resize"] = Resize(resize.value, resize_side)
    declared["renamed"] = {theirs: ours for theirs, _, ours in (pair.partition("=") for pair in rename or [])}
    incumbent, done = importing.import_model(path, load_params(), ImportOptions(**declared), name=name)
    print_result(incumbent.to_document(done), incumbent.lines(done), as_json=as_json)


def _triple(option: str, text: str | None) -> tuple[float, float, float] | None:
    """Return the three numbers of an option, or None if it is not given."""
    if text is None:
        return None
    try:
        first, second, third = map(float, text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{option} is three numbers, a,b,c, not {text}") from None
    return first, second, third
