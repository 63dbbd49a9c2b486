"""What the user says of a model of others, and what the file says of itself: agreed on before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.core.errors import UserError
from pipeline.model_import import loading
from pipeline.model_import.inspection import Format, Found, refused

Rescaling = Literal["none", "unit", "symmetric", "imagenet"]
Stated = Literal["said", "file", "params"]
Order = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Said:
    """What the user says of the file.

    Attributes:
        format: None: guessed.
        classes: the file's classes in the order of its outputs; None: as it says itself, or else labels.names.
        renamed: its classes that are called otherwise here; several may become one, and add up.
        rescaling: what the model wants of values 0 to 255; none: as they are.
        size: side of the input, px, where the file takes any.
        channels: their order in its input.
        outputs: what it gives.
        sha256: the digest that it must have.
        max_mb: the size that it may have, MiB.

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
class Terms:
    """What both agree on.

    Attributes:
        classes: the file's, in the order of its outputs.
        stated: where that order is known from: `said`, `file`, or `params` (assumed to be that of params.yaml).
        order: for each of our labels, the outputs that add up to it; None where they are our labels already.
        rescaling: what the model wants of values 0 to 255.
        size: side of its input, px.

    """

    classes: tuple[str, ...]
    stated: Stated
    order: Order | None
    rescaling: Rescaling
    size: int


def agree(path: Path, found: Found, said: Said, labels: tuple[str, ...]) -> Terms:
    """Return the terms to import a model on.

    Raises:
        UserError: the file and the user contradict each other, something is not said, or labels do not fit.

    """
    classes, stated = _classes(path, found, said, labels)
    order = _order(path, classes, said.renamed, labels)
    return Terms(classes, stated, order, _rescaling(path, found, said), _size(path, found, said))


def _classes(path: Path, found: Found, said: Said, labels: tuple[str, ...]) -> tuple[tuple[str, ...], Stated]:
    """Return the file's classes in the order of its outputs, and where they are known from."""
    own = found.labels or loading.labels_beside(path, found.format)
    if said.classes and own and said.classes != own:
        raise refused(path, f"its own classes are {', '.join(own)}; --classes says {', '.join(said.classes)}")
    classes = said.classes or own or labels
    if found.classes not in {None, len(classes)} or len(set(classes)) < len(classes):
        raise refused(
            path,
            f"it has {found.classes} outputs for the {len(classes)} classes {', '.join(classes)}; labels.names in "
            f"params.yaml are {', '.join(labels)}. Name its classes in the order of its outputs: --classes a,b,c",
        )
    return classes, "said" if said.classes else "file" if own else "params"


def _order(path: Path, classes: tuple[str, ...], renamed: Mapping[str, str], labels: tuple[str, ...]) -> Order | None:
    """Return, for each of our labels, the outputs that add up to it; None where they are our labels already."""
    odd = sorted(renamed.keys() - set(classes))
    names = [renamed.get(name, name) for name in classes]
    strangers = [name for name in names if name not in labels]
    lacking = [label for label in labels if label not in names]
    if odd or strangers or lacking:
        reason = (
            f"--map names {odd[0]}, which it does not have"
            if odd
            else f"{strangers[0]} is none of our labels; say --map {strangers[0]}=LABEL"
            if strangers
            else f"none of its classes is {lacking[0]}"
        )
        ours = f"labels.names in params.yaml are {', '.join(labels)}"
        raise refused(path, f"its classes are {', '.join(classes)}, {ours}: {reason}")
    if names == list(labels):
        return None
    return tuple(tuple(place for place, name in enumerate(names) if name == label) for label in labels)


def _rescaling(path: Path, found: Found, said: Said) -> Rescaling:
    if said.rescaling is not None:
        return said.rescaling
    if found.format == "tfjs":
        return "unit"  # nsfwjs divides by 255
    raise UserError(
        f"{path}: how was its input scaled? --rescaling none (it takes 0 to 255), unit (0 to 1), symmetric (-1 to 1) "
        "or imagenet (less ImageNet's mean, by its deviation). A wrong answer makes a worse model of it, silently."
    )


def _size(path: Path, found: Found, said: Said) -> int:
    if found.size is None and said.size is None:
        raise UserError(f"{path} takes pictures of any size. Say which it was trained with: --size 224")
    if found.size is not None and said.size not in {None, found.size}:
        raise refused(path, f"it takes pictures of {found.size} px, and --size says {said.size}")
    return found.size or said.size or 0
