import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.console import app
from pipeline.core.errors import UserError
from pipeline.duplicates import explain
from tests.support.copies import COPIES, decide, ingest, run, scene
from tests.support.pictures import encode, sha

ORIGINAL = encode(scene(1), "PNG")
BLANK = encode(Image.new("RGB", (64, 64)), "PNG")


@pytest.fixture
def deduped(project):
    ingest({"porn/a.png": ORIGINAL, "porn/again.png": ORIGINAL, "porn/b.jpg": COPIES["large"](scene(1)),
            "sexy/c.png": encode(scene(2), "PNG"), "porn/c.jpg": COPIES["jpeg"](scene(2)),
            "neutral/blank.png": BLANK})  # fmt: skip
    run()


def test_it_tells_why_two_pictures_are_one(deduped):
    done = CliRunner().invoke(app, ["duplicates", "explain", sha(ORIGINAL)[:16]])
    assert done.exit_code == 0
    assert f"{sha(ORIGINAL)}: duplicate, porn, 200 x 160" in done.output
    assert "of 256 bits apart; thumbnails agree" in done.output
    assert "1 more files have the same bytes: 'porn/again.png'" in done.output or "'porn/a.png'" in done.output
    document = json.loads(CliRunner().invoke(app, ["duplicates", "explain", sha(ORIGINAL), "--json"]).output)
    assert [member["status"] for member in document["members"]] == ["duplicate", "kept"]
    assert document["members"][0]["matched"]["representative"] == sha(COPIES["large"](scene(1)))


def test_it_tells_of_conflicts_decisions_and_what_is_set_aside(deduped):
    second = sha(encode(scene(2), "PNG"))
    assert {member["status"] for member in explain.collect(second)["members"]} == {"conflict"}
    decide((second, "sexy"), (sha(ORIGINAL), "drop"))
    run()
    lines = explain.describe(explain.collect(second))
    assert "kept, sexy" in lines[0]
    assert any("conflict, porn" in line and "offered sexy" in line for line in lines)
    assert explain.collect(sha(ORIGINAL))["members"][0]["status"] == "dropped"
    blank = explain.collect(sha(BLANK))
    assert blank["set_aside"].startswith("blank")
    assert "brings it back" in explain.describe(blank)[1]


@pytest.mark.parametrize(("digest", "words"), [("f" * 64, "no catalogued picture"), ("", "pictures begin with")])
def test_a_picture_that_is_none_or_many_is_refused(deduped, digest, words):
    with pytest.raises(UserError, match=words):
        explain.collect(digest)
