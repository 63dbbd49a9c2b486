"""The file of `backbone.weights`: located or downloaded, and verified before anything is loaded from it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras

from pipeline.core import files
from pipeline.core.backbone_table import BACKBONES
from pipeline.core.errors import UserError
from pipeline.params.backbone import Backbone

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class PublishedWeights:
    """Keras' ImageNet weights without the top.

    Attributes:
        url: their address.
        digest: MD5 or SHA-256 that Keras checks its download against; None if it does not.

    """

    url: str
    digest: str | None

    @property
    def name(self) -> str:
        """The file's name, also in Keras' cache."""
        return self.url.rpartition("/")[2]

    @property
    def algorithm(self) -> str:
        """The digest's algorithm: md5 or sha256, as Keras guesses it."""
        return "sha256" if self.digest is not None and len(self.digest) == 64 else "md5"


def published_weights(params: Backbone) -> PublishedWeights:
    """Return what keras.applications downloads for this backbone, as the table of backbones has it."""
    weights = BACKBONES[params.name].weights
    size = params.size if params.size in weights.sizes else max(weights.sizes, default=params.size)
    file = weights.file.format(alpha=params.alpha, size=size)
    return PublishedWeights(f"{_KERAS}/{file}", weights.digests.get(params.alpha))


def verified_path(params: Backbone) -> Path | None:
    """Return the file of weights, downloaded to Keras' cache if necessary; None to train from scratch.

    Raises:
        UserError: the file does not exist, Keras cannot download it, or its digest is not the expected one.

    """
    if params.weights is None:
        return None
    path = _downloaded(params) if params.weights == "imagenet" else _given(params, Path(params.weights))
    digest = params.weights_sha256 and files.sha256_of(path)
    if digest != params.weights_sha256:
        raise UserError(
            f"{path} has SHA-256 {digest}, but backbone.weights_sha256 is {params.weights_sha256}. "
            f"{_how_to_replace(params)} Or, if this very file is meant, set backbone.weights_sha256 to its digest."
        )
    return path


def misfit_message(path: Path, params: Backbone, error: Exception) -> str:
    """Return the message about a file that Keras could not load; `error` is Keras' reason."""
    try:
        with h5py.File(path):
            reason = " ".join(str(error).split())[:300]
    except OSError as broken:
        return f"{path} is cut short, or no HDF5 file at all ({broken}). {_how_to_replace(params)}"
    return (
        f"{path} does not fit {params.name} (alpha {params.alpha:g}): {reason}\n"
        "Set backbone.name and backbone.alpha to what the file was saved from; it must be saved without the top."
    )


def _given(params: Backbone, path: Path) -> Path:
    if not path.is_file():
        raise UserError(
            f"backbone.weights is {path}, and there is no such file. Give the path of a Keras weights file "
            "(*.weights.h5, *_notop.h5 or *_no_top.h5), imagenet, or null to train from scratch."
        )
    known = published_weights(params)
    if known.digest and path.name == known.name and (digest := _digest(path, known.algorithm)) != known.digest:
        algorithm = {"md5": "MD5", "sha256": "SHA-256"}[known.algorithm]
        raise UserError(
            f"{path} is named like Keras' ImageNet weights, but has {algorithm} {digest} where theirs is "
            f"{known.digest}: it was cut short or changed on its way. Fetch {known.url} again, or give other weights "
            "another name."
        )
    return path


def _downloaded(params: Backbone) -> Path:
    source = published_weights(params)
    try:
        # The same call as in keras.applications, which then uses this file from the cache.
        return Path(keras.utils.get_file(source.name, source.url, cache_subdir="models", file_hash=source.digest))
    except Exception as error:  # noqa: BLE001 -- Keras lists none: urllib, a proxy, tarfile or the disk raise their own
        raise UserError(
            f"backbone.weights is imagenet, and Keras could not download {params.name}'s: {error}\n"
            f"On a machine with network fetch {source.url}\n"
            f"copy it here under its own name, {source.name}, and set backbone.weights to its path."
        ) from None


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, algorithm).hexdigest()


def _how_to_replace(params: Backbone) -> str:
    if params.weights == "imagenet":
        return "Delete it and run this again: Keras downloads it again."
    return "Copy it here again from where it came from."
