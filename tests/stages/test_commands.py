"""The `nsfw` commands that read what the stages have made, on a real project."""

import json

import numpy as np
import pytest
import yaml

from pipeline.core import paths
from pipeline.core.files import read_json
from pipeline.model import backbone, network
from pipeline.params.root import load_params


def test_summary_reads_what_the_stages_wrote(in_project, nsfw):
    code, out, _ = nsfw("summary", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["sighted"] == 3 * 36 + 3
    assert (report["quarantined"], report["exact_copies"], report["conflicts"]) == (1, 2, 1)
    assert report["kept"] == 3 * 36 - 1
    assert report["model"] == {
        "model": "nsfw",
        "alias": "challenger",
        "version": 1,
        "uri": "models:/nsfw/1",
        "pending": False,
    }
    assert nsfw("summary")[0] == 0


def test_after_the_stages_there_is_nothing_left_to_sync(in_project, nsfw):
    code, out, _ = nsfw("sync", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["problems"] == []
    assert len(report["records"]) >= 2
    assert all(record["complete"] for record in report["records"])
    assert (report["registration"]["version"], report["registration"]["pending"]) == (1, False)


def test_with_a_dead_server_sync_says_so_and_fails(project_copy, nsfw):
    code, out, _ = nsfw("sync", "--json")
    report = json.loads(out)
    assert code == 1
    assert "127.0.0.1:9 does not answer" in report["problems"][0]
    assert not any(record["complete"] for record in report["records"])


def test_export_backbone_gives_back_the_fine_tuned_features(in_project, nsfw, tmp_path):
    out = tmp_path / "mine.weights.h5"
    code, output, _ = nsfw("export-backbone", str(out), "--json")
    assert code == 0
    report = json.loads(output)
    assert report == {"weights": str(out), "bytes": out.stat().st_size, "recipe": str(tmp_path / "mine.yaml")}
    params = load_params().backbone.model_copy(update={"weights": str(out)})
    tuned = network.load(paths.FINETUNED / "model.keras").get_layer(backbone.NAME)
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    wanted = tuned(pixels, training=False)
    np.testing.assert_allclose(backbone.build(params)(pixels, training=False), wanted, atol=1e-5)
    recipe = yaml.safe_load((tmp_path / "mine.yaml").read_text(encoding="utf-8"))
    measured = read_json(paths.METRICS / "evaluate.json")["finetuned"]
    assert recipe["test"]["accuracy"] == pytest.approx(measured["accuracy"], abs=1e-4)
    assert recipe["params"]["finetune.unfreeze"] == "block_14"
    assert sum(recipe["splits"].values()) == 3 * 36 - 1
    assert recipe["params"]["split.salt"] == load_params().split.salt
    assert recipe["params"]["pack.encoding"] == "png"


def test_export_backbone_refuses_another_name(in_project, nsfw, tmp_path):
    code, out, err = nsfw("export-backbone", str(tmp_path / "mine.h5"))
    assert (code, out) == (1, "")
    assert ".weights.h5" in err
    assert not any(tmp_path.iterdir())
