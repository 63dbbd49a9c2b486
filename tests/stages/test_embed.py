import numpy as np
import pandas as pd
import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.images.decode import decode
from pipeline.images.resize import to_square
from pipeline.model import network
from pipeline.params.root import load_params
from pipeline.stages import embed
from pipeline.training.embeddings import Embeddings
from tests.support import embeddings

pytestmark = pytest.mark.untraced

FEATURES = 1280


@pytest.fixture
def parts(in_project):
    return {split: Embeddings.load(paths.EMBEDDINGS / split) for split in ("train", "val", "test")}


def test_every_picture_is_embedded_as_it_is_and_in_a_view_more(parts):
    splits = pd.read_parquet(paths.SPLITS).set_index("sha256")
    names = load_params().labels.names
    for split, part in parts.items():
        wanted = splits[splits["split"] == split]
        assert sorted(part.sha256) == sorted(wanted.index)
        assert [names[index] for index in part.label] == wanted["label"].loc[part.sha256].tolist()
        features = embeddings.read(part)
        assert features.shape == (2, len(wanted), FEATURES)
        assert features.dtype == np.float32
        assert np.isfinite(features).all()


def test_features_are_the_backbones_of_the_raw_picture(parts, in_project):
    params = load_params()
    origins = in_project.origins()
    content = parts["val"].sha256[0]
    picture = decode((in_project.root / "raw" / origins[content]).read_bytes()).image
    pixels = to_square(picture, params.backbone.size)[None].astype("float32")
    wanted = network.embedder(params.backbone).predict_on_batch(pixels)
    np.testing.assert_allclose(parts["val"].take(np.array([0]), 0), wanted, rtol=2**-11, atol=1e-4)  # float16


def test_an_augmented_view_is_another_picture(parts):
    clean, view = embeddings.read(parts["train"])
    assert (np.abs(clean - view).max(axis=1) > 0.01).all()
    near = np.linalg.norm(clean - view, axis=1).mean()
    assert near < np.linalg.norm(clean - view[::-1], axis=1).mean()  # but of the same one


def test_every_view_of_every_picture_is_kept(parts):
    (folder,) = paths.EMBEDDINGS_CACHE.iterdir()
    rows = set()
    for path in folder.iterdir():
        with np.load(path) as cached:
            rows |= set(zip(cached["key"], cached["view"], strict=True))
    assert len(rows) == sum(part.views * len(part) for part in parts.values())


@pytest.mark.slow
def test_again_gives_the_same_bytes_computed_or_kept(project_copy):
    def written() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in paths.EMBEDDINGS.rglob("*.*")}

    def cache_files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in paths.EMBEDDINGS_CACHE.rglob("*.npz")}

    before = written()
    assert not cache_files()
    embed.main()
    assert written() == before
    once = cache_files()
    embed.main()
    assert written() == before
    assert cache_files() == once  # nothing was embedded: that writes a file


def test_without_packed_pictures_it_says_what_to_run(project_copy):
    for path in paths.PACKED.glob("val-*"):
        path.unlink()
    with pytest.raises(UserError, match=r"val-\*\.tfrecord\. Run `dvc repro pack`"):
        embed.main()
