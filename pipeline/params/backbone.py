"""The network whose features are transferred."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.params.section import Section

# Block boundaries have stable names; `conv2d_56` (the article's) is generated, and shifts from build to build.
UNFREEZE_POINTS: dict[str, tuple[str, ...]] = {
    "inception_v3": ("all", "none", *(f"mixed{n}" for n in range(11))),
    "mobilenet_v2": ("all", "none", *(f"block_{n}" for n in range(1, 17))),
}
UNFREEZE_ALIASES = {"inception_v3": {"conv2d_56": "mixed5"}}
MOBILENET_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


class Backbone(Section):
    """The network whose features are transferred.

    `weights`: "imagenet", a path, or None (from scratch). A file with another digest than `weights_sha256` is an error.
    """

    name: Literal["inception_v3", "mobilenet_v2"]
    alpha: float
    weights: str | None
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    size: Annotated[int, Field(ge=32, le=1024)]
    rescaling: Literal["symmetric", "unit"] | None
    batchnorm_momentum: Annotated[float, Field(gt=0.0, lt=1.0)] | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name == "mobilenet_v2" and self.alpha not in MOBILENET_ALPHAS:
            raise ValueError(f"alpha is {self.alpha}; mobilenet_v2 comes in {', '.join(map(str, MOBILENET_ALPHAS))}")
        if self.name == "inception_v3" and self.alpha != 1.0:
            raise ValueError(f"alpha is {self.alpha}; inception_v3 has one width, 1.0")
        if self.name == "inception_v3" and self.size < 75:
            raise ValueError(f"size is {self.size}; inception_v3 needs at least 75")
        if self.weights is None and self.weights_sha256 is not None:
            raise ValueError("weights_sha256 is given, but weights is null: set it to null too")
        return self
