"""The file of `backbone.weights`: located or downloaded, and verified before anything is loaded from it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.params.backbone import Backbone

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_MOBILENET_SIZES = (96, 128, 160, 192, 224)  # px for which Keras has weights; other sizes use those of the largest


@dataclass(frozen=True)
class PublishedWeights:
    """Keras' ImageNet weights without the top; `md5` is what Keras checks its download against, None if it does not."""

    url: str
    md5: str | None

    @property
    def name(self) -> str:
        """The file's name, also in Keras' cache."""
        return self.url.rpartition("/")[2]


def published_weights(params: Backbone) -> PublishedWeights:
    """Return what keras.applications downloads for this backbone.

    URL and digest are those of keras/src/applications/inception_v3.py and mobilenet_v2.py, which do not export them.
    """
    if params.name == "inception_v3":
        name = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
        return PublishedWeights(f"{_KERAS}/inception_v3/{name}", "bcbd6486424b2319ff4ef7d526e38f63")
    size = params.size if params.size in _MOBILENET_SIZES else _MOBILENET_SIZES[-1]
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{params.alpha}_{size}_no_top.h5"
    return PublishedWeights(f"{_KERAS}/mobilenet_v2/{name}", None)


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
    if known.md5 and path.name == known.name and (digest := _md5(path)) != known.md5:
        raise UserError(
            f"{path} is named like Keras' ImageNet weights, but has MD5 {digest} where theirs is {known.md5}: "
            f"it was cut short or changed on its way. Fetch {known.url} again, or give other weights another name."
        )
    return path


def _downloaded(params: Backbone) -> Path:
    source = published_weights(params)
    try:
        # The same call as in keras.applications, which then uses this file from the cache.
        return Path(keras.utils.get_file(source.name, source.url, cache_subdir="models", file_hash=source.md5))
    except Exception as error:  # noqa: BLE001 -- a socket, a proxy or a disk raises whatever it likes
        raise UserError(
            f"backbone.weights is imagenet, and Keras could not download {params.name}'s: {error}\n"
            f"On a machine with network fetch {source.url}\n"
            f"copy it here under its own name, {source.name}, and set backbone.weights to its path."
        ) from None


def _md5(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()


def _how_to_replace(params: Backbone) -> str:
    if params.weights == "imagenet":
        return "Delete it and run this again: Keras downloads it again."
    return "Copy it here again from where it came from."
