"""The ranges of pixels that networks are trained on, as scale and offset of each RGB channel of 0..255 pixels."""

from typing import Literal

Triple = tuple[float, float, float]
InputRange = Literal["symmetric", "unit", "imagenet", "128ths"]

# Of ImageNet's pixels 0 to 1, as torchvision's models expect.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# symmetric: [-1, 1]; unit: [0, 1]; imagenet: less the mean, over the deviation; 128ths: pixels / 128 - 1.
INPUT_RANGES: dict[str, tuple[Triple, Triple]] = {
    "symmetric": ((1 / 127.5, 1 / 127.5, 1 / 127.5), (-1.0, -1.0, -1.0)),
    "unit": ((1 / 255, 1 / 255, 1 / 255), (0.0, 0.0, 0.0)),
    "imagenet": (
        (1 / 255 / _DEVIATION[0], 1 / 255 / _DEVIATION[1], 1 / 255 / _DEVIATION[2]),
        (-_MEAN[0] / _DEVIATION[0], -_MEAN[1] / _DEVIATION[1], -_MEAN[2] / _DEVIATION[2]),
    ),
    "128ths": ((1 / 128, 1 / 128, 1 / 128), (-1.0, -1.0, -1.0)),
}
