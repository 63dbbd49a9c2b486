"""The network whose features are transferred."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.core.backbone_table import BACKBONES, FEATURES_FILE, Rescaling
from pipeline.params.section import Section

# Block boundaries have stable names; `conv2d_56` (the article's) is generated, and shifts from build to build.
UNFREEZE_POINTS: dict[str, tuple[str, ...]] = {name: ("all", "none", *spec.blocks) for name, spec in BACKBONES.items()}
UNFREEZE_POINTS[FEATURES_FILE] = ("none",)
UNFREEZE_ALIASES = {name: spec.aliases for name, spec in BACKBONES.items() if spec.aliases}
MOBILENET_ALPHAS = BACKBONES["mobilenet_v2"].alphas


def _known(name: str) -> str:
    if name not in {*BACKBONES, FEATURES_FILE}:
        raise ValueError(f"{name!r} is no backbone; known here: {', '.join(map(repr, [*BACKBONES, FEATURES_FILE]))}")
    return name


class Backbone(Section):
    """The network whose features are transferred.

    `weights`: "imagenet", a path, or None (from scratch). A file with another digest than `weights_sha256` is an error.
    """

    name: Annotated[str, AfterValidator(_known)]
    alpha: float
    weights: str | None
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    size: Annotated[int, Field(ge=32, le=1024)]
    rescaling: Rescaling | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name == FEATURES_FILE:
            return self._check_features_file()
        spec = BACKBONES[self.name]
        if self.alpha not in spec.alphas:
            widths = ", ".join(map(str, spec.alphas))
            has = "comes in" if len(spec.alphas) > 1 else "has one width,"
            raise ValueError(f"alpha is {self.alpha}; {self.name} {has} {widths}")
        if self.size < spec.smallest:
            raise ValueError(f"size is {self.size}; {self.name} needs at least {spec.smallest}")
        if self.weights is None and self.weights_sha256 is not None:
            raise ValueError("weights_sha256 is given, but weights is null: set it to null too")
        return self

    def _check_features_file(self) -> Self:
        if self.weights is None or not self.weights.endswith(".onnx"):
            raise ValueError(
                f"weights is {self.weights}; {self.name} takes an ONNX file (*.onnx) of a network from elsewhere. A "
                "SavedModel is made one by `python -m tf2onnx.convert --saved-model DIR --output FILE.onnx`"
            )
        if self.rescaling is None:
            raise ValueError(
                "rescaling is null; say what the file was trained on: symmetric (SigLIP), imagenet (DINO), clip or unit"
            )
        if self.alpha != 1.0:
            raise ValueError(f"{self.name} has no width: alpha must be 1.0")
        return self
