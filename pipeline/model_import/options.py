"""Options of an import, checked against what the file states about its model before anything is loaded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from pipeline.core.errors import UserError
from pipeline.core.input_ranges import INPUT_RANGES, Triple
from pipeline.evaluation.label_match import LabelMatch
from pipeline.images.resize import SQUASH, Resize
from pipeline.model_import import loading
from pipeline.model_import.inspection import Format, ModelInfo, refusal
from pipeline.params.labels import Labels

Rescaling = Literal["none", "unit", "symmetric", "imagenet", "mean"]
ClassSource = Literal["said", "file", "params"]
Outputs = Literal["probabilities", "logits", "probability", "logit"]
Order = tuple[tuple[int, ...], ...]
_SINGLE: dict[Outputs, Outputs] = {
    "probabilities": "probability",
    "probability": "probability",
    "logits": "logit",
    "logit": "logit",
}

# Scale and offset of each channel.
_RESCALING: dict[str, tuple[Triple, Triple]] = INPUT_RANGES | {"none": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))}


@dataclass(frozen=True)
class ImportOptions:
    """What the user states about the file.

    Attributes:
        format: None: guessed.
        classes: the file's classes in the order of its outputs; None: as the file states, or else the labels.
        renamed: the label for each of its classes with another name; several may map to one, and add up.
        labels: the version's labels, if they are not labels.names.
        unsafe: the unsafe ones of them; None: those that params.yaml calls unsafe.
        rescaling: what the model expects of pixel values 0 to 255 (`none`: unchanged), whatever the order of its
            channels; None: not stated.
        mean, deviation: or instead, it expects them less this mean, divided by this deviation (None: 1), both of values
            0 to 255 and in the order of the model's channels.
        resize: how a picture became the model's input when it was trained.
        size: side of the input in pixels, if the file takes any.
        channels: order of the input's channels.
        outputs: what the model returns, as `serving.networks.Adapter` has it.
        sha256: the digest that the file must have.
        max_mb: maximum size of the file in MiB.

    """

    format: Format | None = None
    classes: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    unsafe: tuple[str, ...] | None = None
    rescaling: Rescaling | None = None
    mean: Triple | None = None
    deviation: Triple | None = None
    resize: Resize = SQUASH
    size: int | None = None
    channels: Literal["rgb", "bgr"] = "rgb"
    outputs: Outputs = "probabilities"
    sha256: str | None = None
    max_mb: int = 1024


@dataclass(frozen=True)
class ResolvedImport:
    """What the import uses: the options and what the file states, combined.

    Attributes:
        classes: the file's, in the order of its outputs.
        class_source: what defined that order: `said` (the user), `file`, or `params` (assumed as in params.yaml).
        order: for each label, the outputs that add up to it; None if the outputs are the labels already.
        rescaling: what the model expects of pixel values 0 to 255; `mean`: the mean and the deviation of the options.
        scale, offset: the same for each channel, in the order of the model's channels: pixel * scale + offset.
        size: side of its input in pixels.
        outputs: what it returns: `probability` or `logit` if it has one output.

    """

    classes: tuple[str, ...]
    class_source: ClassSource
    order: Order | None
    rescaling: Rescaling
    scale: Triple
    offset: Triple
    size: int
    outputs: Outputs = "probabilities"


def match_labels(options: ImportOptions, ours: Labels) -> LabelMatch:
    """Return the version's labels beside labels.names, which they are unless the options state others.

    Raises:
        UserError: the labels are invalid, or it is not clear which of them are unsafe.

    """
    if options.labels is None:
        if options.unsafe is not None:
            raise UserError("--unsafe goes with --labels; without it, labels.unsafe in params.yaml holds.")
        return LabelMatch.own(ours.names, ours.unsafe)
    names = ours.names if set(options.labels) == set(ours.names) else options.labels
    unsafe = options.unsafe
    if unsafe is None:
        foreign = [name for name in names if name not in ours.names]
        if foreign:
            raise UserError(f"--labels: is {foreign[0]} unsafe? Name the unsafe ones of the labels: --unsafe a,b")
        unsafe = tuple(name for name in names if name in ours.unsafe)
    try:
        stated = Labels(names=names, unsafe=unsafe)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"--labels {','.join(names)} --unsafe {','.join(unsafe)}: {message}.") from None
    for name in names:
        if name in ours.names and (name in unsafe) != (name in ours.unsafe):
            here, there = ("unsafe", "safe") if name in unsafe else ("safe", "unsafe")
            raise UserError(
                f"--unsafe makes {name} {here}, and it is {there} in params.yaml: a label that means another thing "
                f"needs another name (--labels, --map {name}=LABEL)."
            )
    return LabelMatch(stated.names, tuple(name for name in names if name in unsafe), ours.names, ours.unsafe)


def resolve(path: Path, info: ModelInfo, options: ImportOptions, labels: tuple[str, ...]) -> ResolvedImport:
    """Combine the options with what the file states.

    Raises:
        UserError: the file and the options contradict each other, something is missing, or labels do not match.

    """
    outputs = _outputs(path, info, options)
    classes, class_source = _classes(path, info, options, labels)
    order = _order(path, classes, options, labels)
    size = _size(path, info, options)
    if options.resize.side is not None and options.resize.side < size:
        raise UserError(f"--resize-side {options.resize.side} is less than the {size} px that {path} takes")
    rescaling = _rescaling(path, info, options)
    scale, offset = _of_mean(options) if rescaling == "mean" else _of_name(rescaling, options.channels)
    return ResolvedImport(classes, class_source, order, rescaling, scale, offset, size, outputs)


def _outputs(path: Path, info: ModelInfo, options: ImportOptions) -> Outputs:
    single = options.outputs in ("probability", "logit")
    if single and info.classes not in {None, 1}:
        raise refusal(path, f"it has {info.classes} outputs, and --outputs {options.outputs} says one")
    return _SINGLE[options.outputs] if single or info.classes == 1 else options.outputs


def _classes(
    path: Path, info: ModelInfo, options: ImportOptions, labels: tuple[str, ...]
) -> tuple[tuple[str, ...], ClassSource]:
    """Return the file's classes in the order of its outputs, and what defined them."""
    own = info.labels or loading.labels_beside(path, info.format)
    single = _outputs(path, info, options) in ("probability", "logit")
    if single and own and len(own) == 1:
        own = None  # the name of its one output says nothing of the other side
    if options.classes and own and options.classes != own:
        raise refusal(path, f"its own classes are {', '.join(own)}; --classes says {', '.join(options.classes)}")
    classes = options.classes or own or options.labels or labels
    if single and len(set(classes)) != 2:
        raise refusal(
            path,
            f"it has one output, the probability of the last of two labels, but there are {', '.join(classes)}. "
            "Name two: --labels safe,unsafe --unsafe unsafe",
        )
    if (not single and info.classes not in {None, len(classes)}) or len(set(classes)) < len(classes):
        raise refusal(
            path,
            f"it has {info.classes} outputs for the {len(classes)} classes {', '.join(classes)}; "
            f"{_ours(options, labels)}. Name its classes in the order of its outputs: --classes a,b,c; or, if they "
            "are no classes of ours, its labels: --labels a,b,c --unsafe c",
        )
    return classes, "said" if options.classes or (options.labels and not own) else "file" if own else "params"


def _ours(options: ImportOptions, labels: tuple[str, ...]) -> str:
    source = "--labels" if options.labels else "labels.names in params.yaml"
    return f"{source} are {', '.join(labels)}"


def _order(path: Path, classes: tuple[str, ...], options: ImportOptions, labels: tuple[str, ...]) -> Order | None:
    """Return, for each label, the outputs that add up to it; None if the outputs are the labels already."""
    renamed = options.renamed
    unknown = sorted(renamed.keys() - set(classes))
    names = [renamed.get(name, name) for name in classes]
    strangers = [name for name in names if name not in labels]
    missing = [label for label in labels if label not in names]
    if unknown or strangers or missing:
        reason = (
            f"--map names {unknown[0]}, which it does not have"
            if unknown
            else f"{strangers[0]} is none of our labels; say --map {strangers[0]}=LABEL"
            if strangers
            else f"none of its classes is {missing[0]}"
        )
        raise refusal(path, f"its classes are {', '.join(classes)}, {_ours(options, labels)}: {reason}")
    if names == list(labels):
        return None
    return tuple(tuple(i for i, name in enumerate(names) if name == label) for label in labels)


def _of_name(rescaling: Rescaling, channels: Literal["rgb", "bgr"]) -> tuple[Triple, Triple]:
    """Return scale and offset of a named range, which is RGB's, in the order of the model's channels."""
    scale, offset = _RESCALING[rescaling]
    return (scale, offset) if channels == "rgb" else (scale[::-1], offset[::-1])


def _of_mean(options: ImportOptions) -> tuple[Triple, Triple]:
    """Return scale and offset for (pixel - mean) / deviation."""
    mean, deviation = options.mean or (0.0, 0.0, 0.0), options.deviation or (1.0, 1.0, 1.0)
    if not all(math.isfinite(number) for number in (*mean, *deviation)) or min(deviation) <= 0:
        raise UserError("--mean must be three numbers, and --deviation three positive ones")
    scale = (1 / deviation[0], 1 / deviation[1], 1 / deviation[2])
    return scale, (-mean[0] * scale[0], -mean[1] * scale[1], -mean[2] * scale[2])


def _rescaling(path: Path, info: ModelInfo, options: ImportOptions) -> Rescaling:
    if options.mean or options.deviation:
        if options.rescaling is not None:
            raise UserError("give either --rescaling, or --mean and --deviation")
        return "mean"
    if options.rescaling is not None:
        return options.rescaling
    if info.format in {"tfjs", "tfjs_graph"}:
        return "unit"  # nsfwjs divides by 255
    raise UserError(
        f"{path}: how was its input scaled? --rescaling none (it takes 0 to 255), unit (0 to 1), symmetric (-1 to 1) "
        "or imagenet (less ImageNet's mean, by its deviation); or --mean 104,117,123 for another mean. A wrong "
        "answer makes a worse model of it, silently."
    )


def _size(path: Path, info: ModelInfo, options: ImportOptions) -> int:
    if info.size is None and options.size is None:
        raise UserError(f"{path} takes pictures of any size. Say which it was trained with: --size 224")
    if info.size is not None and options.size not in {None, info.size}:
        raise refusal(path, f"it takes pictures of {info.size} px, and --size says {options.size}")
    return info.size or options.size or 0
