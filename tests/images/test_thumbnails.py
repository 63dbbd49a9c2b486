"""Thumbnails are made once, hold no metadata, and can be erased."""

import io

import pytest
from PIL import Image

from pipeline.core import paths
from pipeline.data import shards
from pipeline.images import sandbox, thumbnails
from pipeline.images.limits import Limits
from pipeline.params.root import load_params
from tests.support.pictures import draw, encode, sha

COST = sandbox.WorkerLimits(5.0, 512)


def member_of(data: bytes, name: str) -> shards.Member:
    shards.write(paths.SHARDS / f"{name}.tar", [(sha(data), ".jpg", data)])
    (member,) = shards.list_members(paths.SHARDS / f"{name}.tar")
    return member


def test_a_thumbnail_is_small_upright_without_metadata_and_made_once(project, rng):
    limits = Limits(**load_params().catalog.limits)
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    exif[271] = "a camera"
    member = member_of(encode(draw(rng, (600, 300)), "JPEG", exif=exif), "one")
    data = thumbnails.read(member, paths.SHARDS, limits, COST)
    image = Image.open(io.BytesIO(data))
    assert image.size == (128, 256)
    assert dict(image.getexif()) == {}
    (paths.SHARDS / "one.tar").unlink()
    assert thumbnails.read(member, paths.SHARDS, limits, COST) == data
    assert thumbnails.erase([member.sha256, "f" * 64]) == 1
    assert not thumbnails.path_of(member.sha256).exists()
    with pytest.raises(FileNotFoundError):
        thumbnails.read(member, paths.SHARDS, limits, COST)


def test_what_no_longer_decodes_has_none(project, rng):
    member = member_of(encode(draw(rng), "JPEG")[:200], "broken")
    assert thumbnails.read(member, paths.SHARDS, Limits(**load_params().catalog.limits), COST) is None
    assert not thumbnails.path_of(member.sha256).exists()


@pytest.mark.parametrize("name", ["../../params.yaml", "F" * 64, "a" * 63, ""])
def test_a_name_that_is_no_sha256_is_an_error(name):
    with pytest.raises(ValueError, match="no sha256"):
        thumbnails.path_of(name)
