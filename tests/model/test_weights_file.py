import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.model import backbone
from pipeline.model import weights_file as files
from pipeline.params.backbone import MOBILENET_ALPHAS

pytestmark = pytest.mark.untraced

INCEPTION = {"name": "inception_v3", "alpha": 1.0, "size": 299}
URLS = "https://storage.googleapis.com/tensorflow/keras-applications"
GET_FILE = "keras.src.utils.file_utils"


@pytest.fixture(scope="module")
def saved(tmp_path_factory, backbone_params) -> Path:
    """A random model in the format of Keras' own ImageNet weights."""
    path = tmp_path_factory.mktemp("saved") / "random.h5"
    backbone.build(backbone_params(size=96)).save(path)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Keras' folder of downloaded weights, empty."""
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    return tmp_path / "models"


@pytest.fixture
def imagenet(backbone_params):
    return backbone_params(weights="imagenet", size=96)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def serve(monkeypatch, path: Path) -> list[str]:
    """Serve `path` for every URL; return the list of requested URLs."""
    urls = []

    def retrieve(url, target, _progress):
        urls.append(url)
        shutil.copyfile(path, target)

    monkeypatch.setattr(f"{GET_FILE}.urlretrieve", retrieve)
    return urls


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")  # Keras', of 100 px
@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.35, "size": 96},
        {"alpha": 1.4, "size": 224},
        {"alpha": 1.0, "size": 100},  # Keras has no weights for 100 px
        pytest.param(INCEPTION | {"size": 75}, marks=pytest.mark.slow),
    ],
)
def test_what_is_checked_is_what_keras_loads(backbone_params, monkeypatch, options):
    request = {}

    def get_file(name, url, **more):
        request.update(more, name=name, url=url)
        raise InterruptedError

    monkeypatch.setattr(f"{GET_FILE}.get_file", get_file)
    params = backbone_params(**options, weights="imagenet")
    with pytest.raises(InterruptedError):
        backbone._architecture(params)
    wanted = files.published_weights(params)
    assert request["url"] == wanted.url
    assert request["name"] == wanted.name
    assert request.get("file_hash") == wanted.digest
    assert request["cache_subdir"] == "models"


def test_every_width_has_a_file_of_its_own(backbone_params):
    urls = {files.published_weights(backbone_params(alpha=alpha, size=96)).url for alpha in MOBILENET_ALPHAS}
    assert len(urls) == len(MOBILENET_ALPHAS)
    assert f"{URLS}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5" in urls


def test_a_download_lands_in_keras_cache_once_and_is_loaded(imagenet, saved, cache, monkeypatch):
    urls = serve(monkeypatch, saved)
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype("float32")
    for _ in range(2):
        model = backbone.build(imagenet.model_copy(update={"weights_sha256": sha256(saved)}))
        wanted = keras.saving.load_model(saved, compile=False)
        np.testing.assert_array_equal(model(pictures, training=False), wanted(pictures, training=False))
    assert urls == [files.published_weights(imagenet).url]
    assert [path.name for path in cache.iterdir()] == [files.published_weights(imagenet).name]


def test_a_download_with_another_digest_is_refused_before_it_is_loaded(imagenet, tmp_path, cache, monkeypatch):
    forged = tmp_path / "forged"
    forged.write_bytes(b"what Keras would choke on")
    serve(monkeypatch, forged)
    other = imagenet.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(UserError) as refused:
        backbone.build(other)
    message = str(refused.value)
    assert all(part in message for part in (str(cache / files.published_weights(other).name), sha256(forged), "0" * 64))
    assert "Delete it" in message


def test_a_cached_download_that_was_cut_short_is_to_be_deleted(imagenet, saved, cache):
    cache.mkdir()
    cut = cache / files.published_weights(imagenet).name
    cut.write_bytes(saved.read_bytes()[:100_000])
    with pytest.raises(UserError, match=rf"{cut} is cut short.*Delete it and run this again"):
        backbone.build(imagenet)


@pytest.mark.parametrize("options", [{"size": 96}, INCEPTION])
@pytest.mark.parametrize(
    "failure", [ConnectionResetError("Connection reset by peer"), TimeoutError("timed out"), ValueError("a proxy's")]
)
def test_without_network_imagenet_says_what_to_fetch_and_where_to_put_it(
    backbone_params, cache, monkeypatch, options, failure
):
    def refuse(*_):
        raise failure

    monkeypatch.setattr(f"{GET_FILE}.urlretrieve", refuse)
    params = backbone_params(**options, weights="imagenet")
    with pytest.raises(UserError) as refused:
        backbone.build(params)
    check_way_out(str(refused.value), files.published_weights(params))
    assert str(failure) in str(refused.value)


def check_way_out(message: str, source: files.PublishedWeights) -> None:
    assert f"fetch {source.url}\n" in message
    assert f"under its own name, {source.name}, and set backbone.weights to its path" in message


REAL = """
import sys
from pipeline.core.errors import UserError
from pipeline.model import backbone
from pipeline.params.backbone import Backbone
for line in sys.argv[1:]:
    try:
        backbone.build(Backbone.model_validate_json(line))
    except UserError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_real_refusal_names_the_url_too(backbone_params, tmp_path):
    backbones = [backbone_params(**options, weights="imagenet") for options in ({"size": 96}, INCEPTION)]
    nowhere = {"KERAS_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}  # 9: discard
    command = [sys.executable, "-c", REAL, *(params.model_dump_json() for params in backbones)]
    done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True, check=True)
    for params in backbones:
        check_way_out(done.stdout, files.published_weights(params))
    assert "URL fetch failure" in done.stdout
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_with_the_right_digest_is_loaded(backbone_params, weights_file):
    params = backbone_params(weights=str(weights_file), weights_sha256=sha256(weights_file))
    assert files.verified_path(params) == weights_file
    assert len(backbone.build(params).weights) == 260


def test_a_file_with_another_digest_is_refused_before_it_is_loaded(backbone_params, tmp_path):
    path = tmp_path / "swapped.weights.h5"
    path.write_bytes(b"what Keras would choke on")
    with pytest.raises(UserError) as refused:
        backbone.build(backbone_params(weights=str(path), weights_sha256="ab" * 32))
    message = str(refused.value)
    assert all(part in message for part in (str(path), sha256(path), "ab" * 32))
    assert "Copy it here again" in message
    assert "set backbone.weights_sha256 to its digest" in message


def test_from_scratch_there_is_no_file(backbone_params):
    assert files.verified_path(backbone_params()) is None


def test_a_file_named_like_keras_own_must_be_keras_own(backbone_params, saved, tmp_path, monkeypatch):
    source = files.published_weights(backbone_params(**INCEPTION))
    copy = tmp_path / source.name
    shutil.copyfile(saved, copy)
    params = backbone_params(**INCEPTION, weights=str(copy))
    with pytest.raises(UserError) as refused:
        backbone.build(params)
    message, digest = str(refused.value), hashlib.new("md5", saved.read_bytes(), usedforsecurity=False).hexdigest()
    assert all(part in message for part in (str(copy), digest, "bcbd6486424b2319ff4ef7d526e38f63", source.url))
    assert "cut short" in message

    assert files.verified_path(params.model_copy(update={"weights": str(saved)})) == saved  # not under another name
    monkeypatch.setattr(files, "published_weights", lambda _: files.PublishedWeights(source.url, digest))
    assert files.verified_path(params) == copy  # nor where it is the one
