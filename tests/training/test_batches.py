import io

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UserError, explain
from pipeline.model import augment
from pipeline.params.augment import Augment
from pipeline.training import batches, packed_records
from pipeline.training.batches import Source
from pipeline.training.embeddings import Embeddings

PICTURES = 11
FLIPS = Augment(rotation=20.0, shift=0.1, shear=0.0, zoom=0.0, flip=True, channel_shift=0.0, crop=0.0)


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Eleven pictures in two files; a picture's label is its number."""
    folder = tmp_path_factory.mktemp("packed")

    def row(number: int) -> tuple[str, int, bytes]:
        buffer = io.BytesIO()
        Image.fromarray(pixels(number)).save(buffer, "PNG")
        return f"{number:064x}", number, buffer.getvalue()

    for file, numbers in enumerate((range(6), range(6, PICTURES))):
        packed_records.write(folder / f"train-{file:05d}.tfrecord", map(row, numbers))
    return folder


@pytest.fixture(params=[0, 64], ids=["streamed", "kept"])
def source(packed, request):
    made = Source.open(packed_records.packed_files(packed, "train"), PICTURES, 32, request.param)
    assert (made.decoded is None) == (request.param == 0)
    return made


@pytest.fixture
def epoch(source, no_augmentation):
    def read(seed: int, number: int, ranges: Augment = no_augmentation, skip: int = 0) -> tuple[np.ndarray, np.ndarray]:
        batched = batches.from_pictures(source, ranges, 4, seed, number, skip=skip)
        made = list(batched)
        assert [len(label) for _, label in made] == {0: [4, 4, 3], 4: [4, 3], 6: [4, 1]}[skip]
        assert int(batched.cardinality()) == len(made)  # unknown, Keras would count a step too many
        return tuple(np.concatenate([part[column].numpy() for part in made]) for column in (0, 1))

    return read


def test_records_come_back_as_they_were_written(packed):
    batched = list(packed_records.pictures(packed_records.packed_files(packed, "train"), 32, 4))
    assert [len(label) for _, label, _ in batched] == [4, 4, 3]
    label = np.concatenate([label for _, label, _ in batched])
    assert label.tolist() == list(range(PICTURES))
    assert [value for part in batched for value in part[2].numpy()] == [f"{k:064x}".encode() for k in range(PICTURES)]
    np.testing.assert_array_equal(np.concatenate([part for part, _, _ in batched]), [pixels(k) for k in label])


def test_equal_rows_give_equal_bytes(tmp_path):
    rows = [("a" * 64, 1, b"one"), ("b" * 64, 0, b"two")]
    for name in ("left", "right"):
        packed_records.write(tmp_path / name, rows)
    assert (tmp_path / "left").read_bytes() == (tmp_path / "right").read_bytes()


def test_a_split_without_files_is_named(tmp_path):
    with pytest.raises(UserError, match=r"val-\*\.tfrecord.*dvc repro pack"):
        packed_records.packed_files(tmp_path, "val")


def test_an_epoch_shows_each_picture_once_with_its_own_label(epoch):
    pictures, labels = epoch(1, 0)
    assert sorted(labels) == list(range(PICTURES))
    np.testing.assert_array_equal(pictures, [pixels(label) for label in labels])


def test_the_order_is_the_seeds_and_the_epochs(epoch):
    orders = {key: epoch(*key)[1].tolist() for key in ((1, 0), (1, 1), (2, 0))}
    assert len(set(map(tuple, orders.values()))) == 3
    assert all(order != sorted(order) for order in orders.values())
    assert epoch(1, 1)[1].tolist() == orders[1, 1]


def test_the_augmentation_is_the_seeds_and_the_epochs(epoch):
    first, again, other = epoch(1, 0, FLIPS), epoch(1, 0, FLIPS), epoch(1, 1, FLIPS)
    np.testing.assert_array_equal(first[0], again[0])
    left, right = (pictures[np.argsort(labels)] for pictures, labels in (first, other))
    assert all(np.abs(one - two).max() > 1 for one, two in zip(left, right, strict=True))


@pytest.mark.parametrize("skip", [4, 6])
def test_an_epoch_goes_on_from_any_picture(epoch, skip):
    whole, rest = epoch(1, 2, FLIPS), epoch(1, 2, FLIPS, skip)
    for left, right in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(left[skip:], right)


def test_a_class_brings_its_weight(source, no_augmentation):
    weights = np.arange(PICTURES, dtype=np.float32) / 10
    for _, label, weight in batches.from_pictures(source, no_augmentation, 4, 1, 0, weights=weights):
        np.testing.assert_array_equal(weight, weights[label.numpy()])


def test_without_the_warp_the_model_gets_what_it_takes_to_do_it(source):
    warped = list(batches.from_pictures(source, FLIPS, 4, 1, 0))
    raw = list(batches.from_pictures(source, FLIPS, 4, 1, 0, warp=False))
    for (pixels, label), ((pictures, coefficients, channel), same_label) in zip(warped, raw, strict=True):
        np.testing.assert_array_equal(label, same_label)
        assert pictures.dtype == "uint8"
        np.testing.assert_array_equal(augment.apply(pictures, coefficients, channel), pixels)


def test_an_epoch_of_embeddings_goes_on_from_any_picture_with_weights():
    features = np.random.default_rng(0).normal(size=(2, 10, 3)).astype("f")
    train = Embeddings.of_array(features, np.array([str(k) for k in range(10)]), np.arange(10) % 3)
    weights = np.array([0.5, 1.0, 2.0], np.float32)
    whole = list(batches.from_embeddings(train, 10, 1, 0, weights=weights).unbatch().as_numpy_iterator())
    rest = list(batches.from_embeddings(train, 10, 1, 0, skip=7, weights=weights).unbatch().as_numpy_iterator())
    for (x, y, w), (x2, y2, w2) in zip(whole[7:], rest, strict=True):
        np.testing.assert_array_equal(x, x2)
        assert (y, w) == (y2, w2) == (y, weights[y])


def test_an_epoch_of_embeddings_shows_each_picture_once_by_one_of_its_views():
    views, n = 3, 50
    features = np.stack([np.stack([np.arange(n), np.full(n, view)], axis=-1) for view in range(views)])
    train = Embeddings.of_array(features.astype("float32"), np.array([str(k) for k in range(n)]), np.arange(n))

    def epoch(seed: int, number: int) -> tuple[list[int], list[int]]:
        made = list(batches.from_embeddings(train, 16, seed, number))
        values, labels = (np.concatenate([part[column].numpy() for part in made]) for column in (0, 1))
        assert values[:, 0].tolist() == labels.tolist()
        return labels.tolist(), values[:, 1].tolist()

    order, shown = epoch(1, 0)
    assert sorted(order) == list(range(n))
    assert order != sorted(order)
    assert set(shown) == {0, 1, 2}
    assert epoch(1, 0) == (order, shown)
    assert epoch(1, 1)[0] != order
    assert epoch(2, 0)[0] != order


def test_a_damaged_packed_file_explains_itself_and_a_folder_is_named(tmp_path):
    path = tmp_path / "train-00000.tfrecord"
    packed_records.write(path, [("a" * 64, 1, b"one"), ("b" * 64, 0, b"two")])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Exception, match="record") as caught:
        list(packed_records.read([str(path)]))
    assert explain(caught.value).startswith("a file of build/packed/ is damaged. Delete build/packed")
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="is a folder, not a file"):
        packed_records.packed_files(tmp_path, "train")
