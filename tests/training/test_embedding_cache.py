import io
import os

import keras
import numpy as np
import pytest
from PIL import Image

from pipeline.core import code_digests
from pipeline.model import determinism, network
from pipeline.training import embedding_cache, feature_extraction, packed_records
from pipeline.training.embedding_cache import RETAINED_RECIPES, EmbeddingCache, recipe
from pipeline.training.embeddings import Embeddings
from tests.support import embeddings

pytestmark = pytest.mark.untraced

VIEWS = 2
BATCH = 4


@pytest.fixture(scope="module")
def small(params, backbone_params, weights_file):
    """The project's params, with small sizes."""
    sizes = {"views": VIEWS, "batch_size": BATCH}
    return params.model_copy(
        update={
            "backbone": backbone_params(weights=str(weights_file)),
            "embed": params.embed.model_copy(update=sizes),
        }
    )


class Counted:
    """A model that counts its batches, and raises after some of them."""

    def __init__(self, model, patience: int = 1_000):
        self.model, self.batches, self.patience = model, 0, patience

    def __getattr__(self, name):
        return getattr(self.model, name)

    def predict_on_batch(self, batch):
        assert len(batch) == BATCH  # never another size
        if self.batches == self.patience:
            raise KeyboardInterrupt
        self.batches += 1
        return self.model.predict_on_batch(batch)


@pytest.fixture(scope="module")
def embedder(small):
    determinism.seed(small.seed)
    return feature_extraction.make_row_independent(network.embedder(small.backbone), BATCH)


@pytest.fixture
def model(embedder):
    return Counted(embedder)


def packed_picture(number: int, size: int = 32, kind: str = "PNG") -> tuple[str, int, bytes]:
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return f"{number + 1:064x}", number % 3, buffer.getvalue()


@pytest.fixture
def pack(tmp_path):
    """Rows to the file that holds them."""

    def write(rows) -> list[str]:
        path = tmp_path / "packed" / f"train-{len(list(tmp_path.glob('packed/*'))):05d}.tfrecord"
        packed_records.write(path, rows)
        return [str(path)]

    return write


@pytest.fixture
def cache(tmp_path):
    return EmbeddingCache(tmp_path / "cache", "recipe")


@pytest.fixture
def embed(tmp_path):
    """Embed a split's files into a new folder."""

    def run(model, packed, params, cache, split):
        folder = tmp_path / os.urandom(8).hex() / split
        count = embedding_cache.embed(model, packed, params, cache, folder)
        embedded = Embeddings.load(folder)
        assert count == len(embedded)
        return embedded

    return run


@pytest.fixture
def from_scratch(embedder, small, tmp_path, embed):
    """The embeddings with an empty cache."""

    def run(packed, params=small):
        empty = EmbeddingCache(tmp_path / "scratch" / os.urandom(8).hex(), "recipe")
        return embed(embedder, packed, params, empty, "train")

    return run


def assert_same_bytes(actual, wanted) -> None:
    for name in ("sha256", "label"):
        left, right = getattr(actual, name), getattr(wanted, name)
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.tobytes() == right.tobytes()
    left, right = embeddings.read(actual), embeddings.read(wanted)
    assert left.shape == right.shape
    assert left.tobytes() == right.tobytes()


def test_a_second_run_embeds_nothing_and_gives_the_same(embed, model, small, pack, cache):
    packed = pack(map(packed_picture, range(6)))
    first = embed(model, packed, small, cache, "train")
    assert model.batches == 2 * (1 + VIEWS)
    assert embeddings.read(first).shape == (1 + VIEWS, 6, 1280)
    assert first.sha256.tolist() == [f"{number + 1:064x}" for number in range(6)]
    assert first.label.tolist() == [0, 1, 2, 0, 1, 2]
    assert_same_bytes(embed(model, packed, small, cache, "train"), first)
    assert model.batches == 2 * (1 + VIEWS)


def test_new_pictures_embed_themselves_only(embed, model, small, pack, cache, from_scratch):
    embed(model, pack(map(packed_picture, (0, 2, 3, 5, 6, 7, 8, 9))), small, cache, "train")
    model.batches = 0
    packed = pack(map(packed_picture, (9, 4, 5, 2, 0, 1)))  # fewer, in another order, and two new ones
    assert_same_bytes(embed(model, packed, small, cache, "val"), from_scratch(packed))
    assert model.batches == 1 + VIEWS


def test_more_views_embed_the_new_ones_only(embed, model, small, pack, cache, from_scratch):
    packed = pack(map(packed_picture, range(3)))
    embed(model, packed, small, cache, "train")
    model.batches = 0
    for views, batches in ((VIEWS + 2, 2), (1, 2)):  # and fewer none
        changed = small.model_copy(update={"embed": small.embed.model_copy(update={"views": views})})
        assert_same_bytes(embed(model, packed, changed, cache, "train"), from_scratch(packed, changed))
        assert model.batches == batches


def test_other_pixels_or_another_content_are_embedded_again(embed, model, small, pack, cache, from_scratch):
    embed(model, pack(map(packed_picture, range(4))), small, cache, "train")
    model.batches = 0
    _, label, png = packed_picture(2)  # its views would be drawn by the content's name
    packed = pack([packed_picture(0), packed_picture(1, kind="JPEG"), ("f" * 64, label, png)])
    assert_same_bytes(embed(model, packed, small, cache, "train"), from_scratch(packed))
    assert model.batches == 1 + VIEWS


def test_what_is_kept_is_not_decoded(embed, model, small, pack, cache):
    no_picture = pack([("0" * 64, 0, b"no picture")])
    keys = feature_extraction.rows_of(no_picture[0]).keys
    features = np.random.default_rng(0).integers(0, 2000, (3, 1, 1280)).astype("float32")
    cache.add(keys * 3, [0, 1, 2], features[:, 0])
    np.testing.assert_array_equal(embeddings.read(embed(model, no_picture, small, cache, "train")), features)


def test_an_interrupted_run_goes_on_where_it_was(embed, embedder, small, pack, cache, from_scratch):
    packed = pack(map(packed_picture, range(10)))
    with pytest.raises(KeyboardInterrupt):
        embed(Counted(embedder, patience=2 * (1 + VIEWS) + 1), packed, small, cache, "train")
    model = Counted(embedder)
    assert_same_bytes(embed(model, packed, small, cache, "train"), from_scratch(packed))
    assert model.batches == VIEWS  # of two pictures, whose clean view was computed; the eight before are whole


def test_it_is_kept_in_parts_that_a_killed_run_leaves_whole(
    embed, model, small, pack, cache, from_scratch, monkeypatch
):
    monkeypatch.setattr(embedding_cache, "_PART_BYTES", 1)
    packed = pack(map(packed_picture, range(10)))
    embed(model, packed, small, cache, "train")
    parts = sorted(cache.folder.glob("*.npz"))
    assert len(parts) == 3
    parts[1].unlink()
    model.batches = 0
    assert_same_bytes(embed(model, packed, small, cache, "train"), from_scratch(packed))
    assert model.batches == 1 + VIEWS


def spoil(path, how) -> None:
    data = bytearray(path.read_bytes())
    match how:
        case "cut":
            del data[len(data) // 2 :]
        case "empty":
            data.clear()
        case "garbage":
            data[:] = b"rubbish"
        case "a byte of the features":
            data[-5_000] ^= 1
        case "a byte of the header":
            data[10] ^= 1
        case "another's":
            buffer = io.BytesIO()
            np.savez(buffer, key=np.array([b"a"]), view=np.array([0]), features=np.zeros((1, 1280), "float16"))
            data[:] = buffer.getvalue()
    path.write_bytes(data)


@pytest.mark.parametrize(
    "how", ["cut", "empty", "garbage", "a byte of the features", "a byte of the header", "another's"]
)
def test_a_damaged_file_is_embedded_again_with_a_warning(embed, model, small, pack, cache, how, caplog):
    packed = pack(map(packed_picture, range(2)))
    first = embed(model, packed, small, cache, "train")
    (path,) = cache.folder.iterdir()
    spoil(path, how)
    embed(model, pack([packed_picture(1)]), small, cache, "val")
    assert model.batches == 2 * (1 + VIEWS)
    assert f"{path} is damaged" in caplog.text
    caplog.clear()
    assert_same_bytes(embed(model, packed, small, cache, "train"), first)
    assert model.batches == 3 * (1 + VIEWS)
    assert not caplog.text  # once is enough


def test_a_file_that_cannot_be_read_is_embedded_again_with_a_warning(embed, model, small, pack, cache, caplog):
    (cache.folder / "folder.npz").mkdir()
    embed(model, pack([packed_picture(0)]), small, cache, "train")
    assert "folder.npz is not readable" in caplog.text
    assert model.batches == 1 + VIEWS


def test_the_recipes_used_last_are_kept(tmp_path):
    root = tmp_path / "cache"
    for age, name in enumerate("abcd"):
        folder = EmbeddingCache(root, name).folder
        (folder / "file.npz").touch()
        os.utime(folder, ns=(10**9 * age, 10**9 * age))
    assert {folder.name for folder in root.iterdir()} == {"b", "c", "d"}
    EmbeddingCache(root, "b")  # used again
    EmbeddingCache(root, "e")
    assert {folder.name for folder in root.iterdir()} == {"b", "d", "e"}
    assert (root / "b/file.npz").exists()
    assert RETAINED_RECIPES == 3


def other(params, section: str, **changes):
    return params.model_copy(update={section: getattr(params, section).model_copy(update=changes)})


def test_a_recipe_is_what_features_depend_on_beside_the_picture(embedder, small, tmp_path, monkeypatch):
    first = recipe(embedder, small)
    same = [small, other(small, "embed", views=9), other(small, "train", epochs=1)]
    assert {recipe(embedder, params) for params in same} == {first}
    ranges = {
        "rotation": 1.0,
        "shift": 0.1,
        "shear": 9.0,
        "zoom": 0.1,
        "flip": False,
        "channel_shift": 1.0,
        "crop": 0.1,
    }
    changed = [other(small, "augment", **{name: value}) for name, value in ranges.items()]
    changed += [small.model_copy(update={"seed": 2}), other(small, "embed", batch_size=BATCH + 1)]
    recipes = [first, *(recipe(embedder, params) for params in changed)]
    assert len(set(recipes)) == len(recipes)
    for module in ("model.augment", "training.packed_records", "training.augmented_views"):
        digests = {name: code_digests.module_digest(name) for name in code_digests.closure(f"pipeline.{module}")}
        edited = digests | {f"pipeline.{module}": "another"}
        with monkeypatch.context() as patch:
            patch.setattr(code_digests, "module_digest", lambda name, edited=edited: edited.get(name, name))
            assert recipe(embedder, small) not in recipes
    with monkeypatch.context() as patch:
        patch.setattr("keras.__version__", "3.0.0")
        assert recipe(embedder, small) not in recipes


def test_a_recipe_is_the_network_as_it_is(small):
    def made(size: int = 32, scale: float = 1 / 255, units: int = 3, seed: int = 1) -> str:
        keras.backend.clear_session()  # as network.embedder does: names start again
        inputs = keras.Input((size, size, 3), name="pixels")
        x = keras.layers.Conv2D(units, 3)(keras.layers.Rescaling(scale)(inputs))
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="embedder")
        rng = np.random.default_rng(seed)
        model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
        return recipe(model, other(small, "backbone", size=size))

    assert made() == made()
    changed = [made(size=40), made(scale=1 / 127.5), made(units=4), made(seed=2)]
    assert len({made(), *changed}) == 5


@pytest.mark.parametrize("view", [0, 1])
def test_a_pictures_bits_are_the_same_in_any_company_and_place(params, backbone_params, weights_file, view):
    """On a CPU. The cache depends on it."""
    shrunk = other(params, "embed", batch_size=5).model_copy(
        update={"backbone": backbone_params(weights=str(weights_file), size=96)}
    )
    model = feature_extraction.make_row_independent(network.embedder(shrunk.backbone), 5)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (1, 96, 96, 3), np.uint8)

    def features(company: int, row: int) -> bytes:
        pictures = rng.integers(0, 256, (company, 96, 96, 3), np.uint8)
        contents = [f"{number:064x}" for number in rng.integers(1, 2**60, company)]
        pictures = np.insert(pictures, row, picture, axis=0)
        contents.insert(row, "a" * 64)
        embedded = feature_extraction.compute_features(model, pictures, contents, view, shrunk)
        assert embedded.shape == (company + 1, 1280)
        assert np.abs(embedded[row]).max() > 0.01  # not a dead network's
        return embedded[row].tobytes()

    cases = [(4, row) for row in range(5)] * 2 + [(0, 0), (1, 1), (2, 0), (3, 2)]
    assert len({features(*row) for row in cases}) == 1
