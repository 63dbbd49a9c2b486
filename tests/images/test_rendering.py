import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data import shards
from pipeline.images import rendering, sandbox
from pipeline.images.decode import decode
from pipeline.images.distortions import DISTORTIONS
from pipeline.images.limits import Limits
from pipeline.images.rendering import PLAIN, Renderer, render_all
from pipeline.images.resize import to_square
from tests.support.pictures import draw, encode, jpeg, png, sha

COST = sandbox.WorkerLimits(seconds=20.0, memory_mb=1024)


def members(folder, contents) -> list[shards.Member]:
    shards.write(folder / "a.tar", [(sha(content), "", content) for content in contents])
    return shards.list_members(folder / "a.tar")


@pytest.fixture
def contents(rng) -> list[bytes]:
    return [jpeg(rng), png(rng, (70, 40)), encode(draw(rng, mode="L"), "WEBP"), jpeg(rng, (33, 64)), png(rng)]


def test_each_form_is_of_the_original_and_only_then_resized(tmp_path, contents, monkeypatch):
    monkeypatch.setattr(rendering, "_CHUNK_BYTES", 2 * 3 * 24 * 24 * 3)  # two pictures a chunk
    forms = (PLAIN, "half", "screenshot")
    chunks = list(render_all(Renderer(tmp_path, Limits(), 24, forms), COST, members(tmp_path, contents)))
    assert [chunk.shape for chunk in chunks] == [(2, 3, 24, 24, 3), (2, 3, 24, 24, 3), (1, 3, 24, 24, 3)]
    pixels = np.concatenate(chunks)
    assert pixels.dtype == np.uint8
    for content, rendered in zip(contents, pixels, strict=True):
        image = decode(content).image
        assert (rendered[0] == to_square(image, 24)).all()
        assert (rendered[1] == to_square(DISTORTIONS["half"](image), 24)).all()
        assert (rendered[2] == to_square(DISTORTIONS["screenshot"](image), 24)).all()


def test_a_picture_that_does_not_decode_is_named_with_the_way_out(tmp_path, contents):
    listed = members(tmp_path, [contents[0], contents[1][:-200]])
    with pytest.raises(UserError, match="cannot be rendered: broken") as caught:
        list(render_all(Renderer(tmp_path, Limits(), 24), COST, listed))
    assert listed[1].sha256 in str(caught.value)
    assert "dvc repro -f catalog" in str(caught.value)


def test_no_pictures_no_chunks(tmp_path):
    assert list(render_all(Renderer(tmp_path, Limits(), 24), COST, [])) == []
