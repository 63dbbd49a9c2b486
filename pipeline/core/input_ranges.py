"""The ranges of pixels that networks are trained on, as scale and offset of each RGB channel of 0..255 pixels."""

from typing import Literal

Triple = tuple[float, float, float]
InputRange = Literal["symmetric", "unit", "imagenet", "clip", "128ths"]


def _standardized(mean: Triple, deviation: Triple) -> tuple[Triple, Triple]:
    """Return the range of pixels 0 to 1 less the mean, over the deviation."""
    return (
        (1 / 255 / deviation[0], 1 / 255 / deviation[1], 1 / 255 / deviation[2]),
        (-mean[0] / deviation[0], -mean[1] / deviation[1], -mean[2] / deviation[2]),
    )


# symmetric: [-1, 1]; unit: [0, 1]; imagenet: by ImageNet's mean and deviation, as torchvision's models expect; clip: by
# those of OpenAI's CLIP; 128ths: pixels / 128 - 1.
INPUT_RANGES: dict[str, tuple[Triple, Triple]] = {
    "symmetric": ((1 / 127.5, 1 / 127.5, 1 / 127.5), (-1.0, -1.0, -1.0)),
    "unit": ((1 / 255, 1 / 255, 1 / 255), (0.0, 0.0, 0.0)),
    "imagenet": _standardized((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": _standardized((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "128ths": ((1 / 128, 1 / 128, 1 / 128), (-1.0, -1.0, -1.0)),
}
