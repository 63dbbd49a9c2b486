"""The file that each picture goes into, and that its pixels are the same as in serving."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.data import folder as folders
from pipeline.data import shards
from pipeline.images import sandbox
from pipeline.images.decode import decode
from pipeline.images.limits import Limits
from pipeline.images.packing import Packer
from pipeline.images.resize import to_square
from pipeline.params.root import load_params
from pipeline.stages import pack
from tests.support.pictures import LABELS, draw, encode, jpeg, png, scrape, sha

SPLITS = {"train": 9, "val": 4, "test": 1}


def table(splits: dict[str, str]) -> pd.DataFrame:
    """Each content's split, as build/splits.parquet, in no order."""
    rows = [(content, "porn", content, split) for content, split in splits.items()]
    return pd.DataFrame(rows, columns=["sha256", "label", "cluster", "split"]).sample(frac=1, random_state=2)


def catalog_rows(contents) -> pd.DataFrame:
    """A catalog's columns that pack reads, in no order, with a content that no split has."""
    rows = [(content, f"{number % 3}.tar", 512 * number, number) for number, content in enumerate(contents)]
    return pd.DataFrame([*rows, (sha("other"), "3.tar", 0, 1)], columns=list(shards.Member._fields))


@pytest.mark.parametrize(("per_file", "sizes"), [(4, [1, 4, 4, 1, 4]), (9, [1, 9, 4]), (1, [1] * 14)])
def test_a_file_holds_pictures_of_one_split_in_the_order_of_their_sha256(per_file, sizes):
    splits = {sha(f"{split} {number}"): split for split, many in SPLITS.items() for number in range(many)}
    planned = list(pack.plan(table(splits), catalog_rows(splits), per_file))
    counts = {split: -(-many // per_file) for split, many in sorted(SPLITS.items())}
    assert [name for name, _ in planned] == [
        f"{split}-{number:05d}.tfrecord" for split, files in counts.items() for number in range(files)
    ]
    assert [len(rows) for _, rows in planned] == sizes
    for split in SPLITS:
        contents = [content for name, rows in planned if name.startswith(split) for content in rows["sha256"]]
        assert contents == sorted(content for content, own in splits.items() if own == split)


def test_a_row_of_the_plan_says_where_its_bytes_lie():
    splits = {sha(f"{number}"): "train" for number in range(5)}
    ((_, rows),) = pack.plan(table(splits), catalog_rows(splits), 10)
    expected = {row[0]: shards.Member(*row) for row in catalog_rows(splits).itertuples(index=False, name=None)}
    assert tuple(shards.members_of(rows)) == tuple(expected[content] for content in sorted(splits))
    assert {type(part) for part in shards.members_of(rows)[0]} == {str, int}  # picklable and cheap, not numpy's


def test_a_content_that_two_rows_place_is_an_error():
    splits = {sha("a"): "train"}
    with pytest.raises(pd.errors.MergeError):
        list(pack.plan(table(splits), pd.concat([catalog_rows(splits)] * 2), 10))


def test_packing_takes_its_limits_from_the_catalogs_params(project):
    params = load_params()
    changed = params.model_copy(
        update={
            "catalog": params.catalog.model_copy(
                update={"max_megapixels": 2.5, "min_side": 40, "max_aspect": 3.0, "seconds": 7.0, "memory_mb": 512}
            ),
            "backbone": params.backbone.model_copy(update={"size": 64}),
            "pack": params.pack.model_copy(update={"encoding": "jpeg", "jpeg_quality": 80}),
        }
    )
    assert pack.packer_and_limits(changed) == (
        Packer(project / "data/shards", Limits(2_500_000, 40, 3.0), 64, "jpeg", 80),
        sandbox.WorkerLimits(7.0, 512),
    )


@pytest.fixture
def contents(project: Path, rng: np.random.Generator) -> dict[str, tuple[bytes, str, str]]:
    """A project before `pack`: each content with its label and split, one rotated, one grey, one transparent."""
    exif = Image.Exif()
    exif[0x0112] = 6
    seen_through = np.dstack([np.asarray(draw(rng, (40, 33))), np.full((33, 40), 99, np.uint8)])
    odd = [jpeg(rng, (60, 40), exif=exif.tobytes()), encode(draw(rng, mode="L"), "WEBP")]
    pictures = [*odd, encode(Image.fromarray(seen_through), "PNG"), *(png(rng) for _ in range(6))]
    given = {
        sha(content): (content, LABELS[number % 5], "train" if number < 6 else "val" if number < 8 else "test")
        for number, content in enumerate(pictures)
    }
    scrape(project / "raw", {f"{label}/{content}": data for content, (data, label, _) in given.items()})
    folders.ingest(folders.scan(project / "raw", LABELS), paths.DATA, "batch")
    members = [member for shard in paths.SHARDS.iterdir() for member in shards.list_members(shard)]
    tables.write_parquet(pd.DataFrame(members), paths.CATALOG)
    rows = [(content, label, content, split) for content, (_, label, split) in given.items()]
    tables.write_parquet(pd.DataFrame(rows, columns=["sha256", "label", "cluster", "split"]), paths.SPLITS)
    return given


def packed() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(paths.PACKED.iterdir())}


def rows_of(split: str) -> list[tuple[str, int, bytes]]:
    """A split's (sha256, label index, encoded picture), in stored order."""
    import tensorflow as tf

    from pipeline.training import packed_records

    fields = [
        tf.train.Example.FromString(row.numpy()).features.feature
        for row in packed_records.read(packed_records.packed_files(paths.PACKED, split))
    ]
    return [
        (
            row["sha256"].bytes_list.value[0].decode(),
            row["label"].int64_list.value[0],
            row["picture"].bytes_list.value[0],
        )
        for row in fields
    ]


@pytest.mark.slow  # imports TensorFlow
def test_a_run_packs_exactly_the_pixels_that_serving_sees(contents):
    pack.main()
    first = packed()
    assert list(first) == [  # pack.pictures_per_file: 4
        "test-00000.tfrecord", "train-00000.tfrecord", "train-00001.tfrecord", "val-00000.tfrecord",
    ]  # fmt: skip
    for split in SPLITS:
        rows = rows_of(split)
        assert [row[0] for row in rows] == sorted(content for content, (*_, own) in contents.items() if own == split)
        for content, label, picture in rows:
            data, name, _ = contents[content]
            assert LABELS[label] == name
            with Image.open(io.BytesIO(picture)) as image:
                assert image.format == "PNG"
                np.testing.assert_array_equal(np.asarray(image), to_square(decode(data).image, 32))
    pack.main()
    assert packed() == first


@pytest.mark.slow
def test_a_catalogued_picture_that_does_not_decode_now_is_named(contents, project):
    broken = jpeg(np.random.default_rng(9))[:400]
    shards.write(paths.SHARDS / "0002-new-00000.tar", [(sha(broken), ".jpg", broken)])
    (member,) = shards.list_members(paths.SHARDS / "0002-new-00000.tar")
    tables.write_parquet(pd.DataFrame([member]), paths.CATALOG)
    splits = pd.DataFrame([(sha(broken), "porn", sha(broken), "test")], columns=["sha256", "label", "cluster", "split"])
    tables.write_parquet(splits, paths.SPLITS)
    with pytest.raises(UserError, match=f"{sha(broken)} in 0002-new-00000.tar .* cannot be packed: broken"):
        pack.main()
    assert not paths.PACKED.exists()
