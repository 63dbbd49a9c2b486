import io

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data import shards
from pipeline.images import sandbox
from pipeline.images.decode import decode
from pipeline.images.limits import Limits
from pipeline.images.packing import Packer, pack_all
from pipeline.images.resize import to_square
from tests.support.pictures import draw, encode, jpeg, sha

COST = sandbox.WorkerLimits(seconds=20.0, memory_mb=1024)


@pytest.fixture
def contents(rng) -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = jpeg(rng, (60, 40), exif=exif.tobytes())
    seen_through = np.dstack([np.asarray(draw(rng, (40, 33))), np.full((33, 40), 99, np.uint8)])
    return [turned, encode(Image.fromarray(seen_through), "PNG"), encode(draw(rng, mode="L"), "WEBP")]


def members(folder, contents) -> tuple[shards.Member, ...]:
    shards.write(folder / "a.tar", [(sha(content), "", content) for content in contents])
    return tuple(shards.list_members(folder / "a.tar"))


def test_packed_pixels_are_what_serving_sees(tmp_path, contents):
    """Decoded and resized by the same two functions, and nothing lost by the encoding."""
    listed = members(tmp_path, contents)
    packer = Packer(tmp_path, Limits(), 32, "png", 95)
    packed = pack_all(packer, COST, tuple(reversed(listed)))
    for content, encoded in zip(reversed(contents), packed, strict=True):
        with Image.open(io.BytesIO(encoded)) as picture:
            assert (picture.format, picture.mode) == ("PNG", "RGB")
            assert (np.asarray(picture) == to_square(decode(content).image, 32)).all()
    assert pack_all(packer, COST, listed) == packed[::-1]


def test_jpeg_is_close_and_smaller(tmp_path, contents):
    listed = members(tmp_path, contents)
    packed = [Packer(tmp_path, Limits(), 64, kind, 90).pack(listed[0]) for kind in ("png", "jpeg")]
    assert packed[1].startswith(b"\xff\xd8")
    assert len(packed[1]) < len(packed[0])
    apart = np.abs(np.asarray(decode(packed[1]).image).astype(int) - np.asarray(decode(packed[0]).image))
    assert apart.mean() < 3


def test_a_picture_that_does_not_decode_now_is_named_with_the_way_out(tmp_path, contents):
    listed = members(tmp_path, [contents[0], contents[1][:-200]])
    with pytest.raises(UserError, match="cannot be packed: broken") as caught:
        pack_all(Packer(tmp_path, Limits(), 32, "png", 95), COST, listed)
    assert sha(contents[1][:-200]) in str(caught.value)
    assert "dvc repro -f catalog" in str(caught.value)
