"""Options of an import, checked against what the file states about its model before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.core.errors import UserError
from pipeline.model_import import loading
from pipeline.model_import.inspection import Format, ModelInfo, refusal

Rescaling = Literal["none", "unit", "symmetric", "imagenet"]
ClassSource = Literal["said", "file", "params"]
Order = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ImportOptions:
    """What the user states about the file.

    Attributes:
        format: None: guessed.
        classes: the file's classes in the order of its outputs; None: as the file states, or else labels.names.
        renamed: our label for each of its classes with another name; several may map to one, and add up.
        rescaling: what the model expects of pixel values 0 to 255 (`none`: unchanged); None: not stated.
        size: side of the input in pixels, if the file takes any.
        channels: order of the input's channels.
        outputs: what the model returns.
        sha256: the digest that the file must have.
        max_mb: maximum size of the file in MiB.

    """

    format: Format | None = None
    classes: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    rescaling: Rescaling | None = None
    size: int | None = None
    channels: Literal["rgb", "bgr"] = "rgb"
    outputs: Literal["probabilities", "logits"] = "probabilities"
    sha256: str | None = None
    max_mb: int = 1024


@dataclass(frozen=True)
class ResolvedImport:
    """What the import uses: the options and what the file states, combined.

    Attributes:
        classes: the file's, in the order of its outputs.
        class_source: what defined that order: `said` (the user), `file`, or `params` (assumed as in params.yaml).
        order: for each of our labels, the outputs that add up to it; None if the outputs are our labels already.
        rescaling: what the model expects of pixel values 0 to 255.
        size: side of its input in pixels.

    """

    classes: tuple[str, ...]
    class_source: ClassSource
    order: Order | None
    rescaling: Rescaling
    size: int


def resolve(path: Path, info: ModelInfo, options: ImportOptions, labels: tuple[str, ...]) -> ResolvedImport:
    """Combine the options with what the file states.

    Raises:
        UserError: the file and the options contradict each other, something is missing, or labels do not match.

    """
    classes, class_source = _classes(path, info, options, labels)
    order = _order(path, classes, options.renamed, labels)
    return ResolvedImport(classes, class_source, order, _rescaling(path, info, options), _size(path, info, options))


def _classes(
    path: Path, info: ModelInfo, options: ImportOptions, labels: tuple[str, ...]
) -> tuple[tuple[str, ...], ClassSource]:
    """Return the file's classes in the order of its outputs, and what defined them."""
    own = info.labels or loading.labels_beside(path, info.format)
    if options.classes and own and options.classes != own:
        raise refusal(path, f"its own classes are {', '.join(own)}; --classes says {', '.join(options.classes)}")
    classes = options.classes or own or labels
    if info.classes not in {None, len(classes)} or len(set(classes)) < len(classes):
        raise refusal(
            path,
            f"it has {info.classes} outputs for the {len(classes)} classes {', '.join(classes)}; labels.names in "
            f"params.yaml are {', '.join(labels)}. Name its classes in the order of its outputs: --classes a,b,c",
        )
    return classes, "said" if options.classes else "file" if own else "params"


def _order(path: Path, classes: tuple[str, ...], renamed: Mapping[str, str], labels: tuple[str, ...]) -> Order | None:
    """Return, for each of our labels, the outputs that add up to it; None if the outputs are our labels already."""
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
        ours = f"labels.names in params.yaml are {', '.join(labels)}"
        raise refusal(path, f"its classes are {', '.join(classes)}, {ours}: {reason}")
    if names == list(labels):
        return None
    return tuple(tuple(i for i, name in enumerate(names) if name == label) for label in labels)


def _rescaling(path: Path, info: ModelInfo, options: ImportOptions) -> Rescaling:
    if options.rescaling is not None:
        return options.rescaling
    if info.format == "tfjs":
        return "unit"  # nsfwjs divides by 255
    raise UserError(
        f"{path}: how was its input scaled? --rescaling none (it takes 0 to 255), unit (0 to 1), symmetric (-1 to 1) "
        "or imagenet (less ImageNet's mean, by its deviation). A wrong answer makes a worse model of it, silently."
    )


def _size(path: Path, info: ModelInfo, options: ImportOptions) -> int:
    if info.size is None and options.size is None:
        raise UserError(f"{path} takes pictures of any size. Say which it was trained with: --size 224")
    if info.size is not None and options.size not in {None, info.size}:
        raise refusal(path, f"it takes pictures of {info.size} px, and --size says {options.size}")
    return info.size or options.size or 0
