"""The backbones that can be transferred, one row each: networks of keras.applications.

Plain data, as params.yaml is checked against it before Keras is loaded. A new backbone is a new row;
tests/model/test_backbones.py runs for each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any, Literal

from pipeline.core.input_ranges import InputRange

FEATURES_FILE = "features_file"  # not a network of Keras, but an ONNX file of one from elsewhere
Rescaling = Literal["symmetric", "unit", "imagenet", "clip"]  # what params.yaml may say of weights from elsewhere


@dataclass(frozen=True)
class Weights:
    """Keras' ImageNet weights without the top.

    Attributes:
        file: below Keras' address, with {alpha} and {size} where there is one file for each.
        digests: what Keras checks its download against, by alpha: MD5 or SHA-256, by their length; none where it checks
            nothing.
        sizes: input sides that have a file of their own; other sizes take that of the largest. None: one for all.

    """

    file: str
    digests: Mapping[float, str] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone.

    Attributes:
        builder: its function in keras.applications.
        blocks: the blocks after which it can be unfrozen, from the input on. Their names are stable, unlike those of
            layers that Keras numbers by what was built before.
        ends: a block's last layer, with {} for the block's name: the first of these that the network has.
        input_range: of the pixels that its ImageNet weights were trained on.
        weights: its ImageNet weights.
        options: of the builder. They switch off rescaling inside the network, where there is one: our layer does it.
        smallest: side of the input, px.
        alphas: the widths; more than one if the builder takes `alpha`.
        aliases: other names of blocks.

    """

    builder: str
    blocks: tuple[str, ...]
    ends: tuple[str, ...]
    input_range: InputRange
    weights: Weights
    options: Mapping[str, Any] = field(default_factory=dict)
    smallest: int = 32
    alphas: tuple[float, ...] = (1.0,)
    aliases: Mapping[str, str] = field(default_factory=dict)


_UNPROCESSED = {"include_preprocessing": False}
_KERNELS = "weights_tf_dim_ordering_tf_kernels"


def _numbered(prefix: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in range(first, last + 1))


def _efficientnet_v2(name: str, repeats: tuple[int, ...], input_range: InputRange, md5: str) -> BackboneSpec:
    """Return the row of an EfficientNetV2; `repeats` are the blocks of its six stages: block1a, block1b, block2a..."""
    blocks = [f"block{stage}{letter}" for stage, count in enumerate(repeats, 1) for letter in ascii_lowercase[:count]]
    return BackboneSpec(
        builder=f"EfficientNetV2{name.upper()}",
        blocks=("stem", *blocks),
        ends=("{}_add", "{}_project_activation", "{}_project_bn", "{}_activation"),
        input_range=input_range,
        weights=Weights(f"efficientnet_v2/efficientnetv2-{name}_notop.h5", {1.0: md5}),
        options=_UNPROCESSED,
    )


def _mobilenet_v3(size: str, last: int, md5: Mapping[float, str]) -> BackboneSpec:
    return BackboneSpec(
        builder=f"MobileNetV3{size.capitalize()}",
        blocks=("conv", "expanded_conv", *_numbered("expanded_conv_", 1, last)),
        ends=("{}_add", "{}_project_bn", "{}_bn"),
        input_range="symmetric",
        weights=Weights(f"mobilenet_v3/weights_mobilenet_v3_{size}_224_{{alpha}}_float_no_top_v2.h5", md5),
        options=_UNPROCESSED,
        alphas=(0.75, 1.0),
    )


def _convnext(size: str, depths: tuple[int, ...], sha256: str) -> BackboneSpec:
    """Return the row of a ConvNeXt; `depths` are the blocks of its four stages.

    Its last normalization comes after the pool, as its weights were trained, so that the network pools itself.
    """
    blocks = [f"stage_{stage}_block_{block}" for stage, count in enumerate(depths) for block in range(count)]
    return BackboneSpec(
        builder=f"ConvNeXt{size.capitalize()}",
        blocks=("stem", *blocks),
        ends=(f"convnext_{size}_{{}}_identity", f"convnext_{size}_{{}}"),
        input_range="imagenet",
        weights=Weights(f"convnext/convnext_{size}_notop.h5", {1.0: sha256}),
        options=_UNPROCESSED | {"pooling": "avg"},
    )


BACKBONES: dict[str, BackboneSpec] = {
    "inception_v3": BackboneSpec(
        builder="InceptionV3",
        blocks=_numbered("mixed", 0, 10),
        ends=("{}",),
        input_range="symmetric",
        weights=Weights(f"inception_v3/inception_v3_{_KERNELS}_notop.h5", {1.0: "bcbd6486424b2319ff4ef7d526e38f63"}),
        smallest=75,
        aliases={"conv2d_56": "mixed5"},  # the article's, a generated name that shifts from build to build
    ),
    "mobilenet_v2": BackboneSpec(
        builder="MobileNetV2",
        blocks=_numbered("block_", 1, 16),
        ends=("{}_add", "{}_project_BN"),
        input_range="symmetric",
        weights=Weights(
            f"mobilenet_v2/mobilenet_v2_{_KERNELS}_{{alpha}}_{{size}}_no_top.h5", sizes=(96, 128, 160, 192, 224)
        ),
        alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    ),
    "mobilenet_v3_small": _mobilenet_v3(
        "small", 10, {0.75: "ebdb5cc8e0b497cd13a7c275d475c819", 1.0: "d3e8ec802a04aa4fc771ee12a9a9b836"}
    ),
    "mobilenet_v3_large": _mobilenet_v3(
        "large", 14, {0.75: "40af19a13ebea4e2ee0c676887f69a2e", 1.0: "07fb09a5933dd0c8eaafa16978110389"}
    ),
    "efficientnet_v2_b0": _efficientnet_v2("b0", (1, 2, 2, 3, 5, 8), "imagenet", "893217f2bb855e2983157299931e43ff"),
    "efficientnet_v2_b1": _efficientnet_v2("b1", (2, 3, 3, 4, 6, 9), "imagenet", "0e80663031ca32d657f9caa404b6ec37"),
    "efficientnet_v2_b2": _efficientnet_v2("b2", (2, 3, 3, 4, 6, 10), "imagenet", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "efficientnet_v2_b3": _efficientnet_v2("b3", (2, 3, 3, 5, 7, 12), "imagenet", "f6abf7b5849ac99a89b50dd3fd532856"),
    "efficientnet_v2_s": _efficientnet_v2("s", (2, 4, 4, 6, 9, 15), "128ths", "af0682fb74e8c54910f2d4393339c070"),
    "convnext_tiny": _convnext(
        "tiny", (3, 3, 9, 3), "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"
    ),
    "convnext_small": _convnext(
        "small", (3, 3, 27, 3), "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"
    ),
    "resnet50_v2": BackboneSpec(
        builder="ResNet50V2",
        blocks=(
            "pool1",
            *(
                f"conv{stage}_block{block}"
                for stage, count in ((2, 3), (3, 4), (4, 6), (5, 3))
                for block in range(1, count + 1)
            ),
        ),
        ends=("{}_out", "{}_pool"),
        input_range="symmetric",
        weights=Weights(f"resnet/resnet50v2_{_KERNELS}_notop.h5", {1.0: "fac2f116257151a9d068a22e544a4917"}),
    ),
    "densenet121": BackboneSpec(
        builder="DenseNet121",
        blocks=_numbered("pool", 1, 4),  # each ends a dense block and its transition
        ends=("{}_pool", "{}"),
        input_range="imagenet",
        weights=Weights(f"densenet/densenet121_{_KERNELS}_notop.h5", {1.0: "30ee3e1110167f948a6b9946edeeb738"}),
    ),
}
