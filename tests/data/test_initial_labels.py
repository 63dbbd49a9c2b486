"""`nsfw init`: writes new labels into params.yaml."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline.params.root import load_params, parse_params


def test_it_writes_the_labels_and_keeps_the_rest(nsfw, project):
    root = Path(__file__).parents[2]
    text = (root / "params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text, encoding="utf-8")
    code, out, _ = nsfw("init", "--labels", "cats, dogs,wolves", "--unsafe", "wolves")
    assert code == 0
    assert load_params().labels.names == ("cats", "dogs", "wolves")
    assert load_params().labels.unsafe == ("wolves",)
    after = Path("params.yaml").read_text(encoding="utf-8")
    changed = [pair for pair in zip(text.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(changed) == 2
    assert "# the classes whose recall matters most" in after
    assert "+  names: [cats, dogs, wolves]" in out
    document = yaml.safe_load(after)
    printed = [yaml.safe_load(line)["backbone"] for line in out.splitlines() if line.startswith("  backbone: ")]
    names = [
        parse_params(document | {"backbone": document["backbone"] | each}, "printed").backbone.name for each in printed
    ]
    assert names == ["inception_v3", "mobilenet_v2", "efficientnet_v2_b0"]
    assert out.index("nsfw ingest folder") < out.index("git commit") < out.index("dvc repro")
    assert json.loads(nsfw("init", "--labels", "cats,dogs,wolves", "--unsafe", "wolves", "--json")[1])["diff"] == ""


@pytest.mark.parametrize(
    ("labels", "unsafe", "message"),
    [
        ("cats,dogs", "wolves", "unsafe names wolves"),
        ("cats,cats", "cats", "twice"),
        ("cats,dogs", "cats,dogs", "at least one must be safe"),
        ("cats", "cats", "labels.names"),
        ("cats,../x", "cats", "letters, digits"),
        ("cats,dogs", "", "label"),
    ],
)
def test_labels_that_are_not_right_are_refused_and_nothing_is_written(nsfw, project, labels, unsafe, message):
    before = Path("params.yaml").read_bytes()
    code, out, err = nsfw("init", "--labels", labels, "--unsafe", unsafe)
    assert (code, out) == (1, "")
    assert message in err
    assert Path("params.yaml").read_bytes() == before


def test_outside_a_project(nsfw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = nsfw("init", "--labels", "a,b", "--unsafe", "b")
    assert code == 1
    assert "Run this in the project's root" in err
