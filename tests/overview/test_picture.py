"""`nsfw show`: one picture in all tables of a project that every stage has run in."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core import paths
from tests.support import trained_project


@pytest.fixture
def shown(project_copy, nsfw):
    """Run `nsfw show` in a project that may be written to; a file's sha256 by its name."""
    Path(".dvc").mkdir(exist_ok=True)
    sightings = pd.concat(pd.read_parquet(path) for path in sorted(paths.SIGHTINGS.glob("*.parquet")))
    digests = sightings.drop_duplicates("origin").set_index("origin")["sha256"]

    def show(name: str, *more: str):
        return nsfw("show", digests[name], *more)

    return show


def test_a_picture_that_is_learned_from(shown):
    known = json.loads(shown("drawings/drawings-1.jpg", "--json")[1])
    assert [(row["label"], row["status"]) for row in known["sightings"]] == [("drawings", "stored")]
    assert known["quarantine"] == []
    assert known["split"] in {"train", "val", "test"}
    assert known["fate"]["members"][0]["status"] == "kept"
    predictions = pd.read_parquet(paths.PREDICTIONS).set_index("sha256")
    if known["split"] != "train":
        row = predictions.loc[known["sha256"]]
        assert known["prediction"] == {name: row[f"p_{name}"] for name in sorted(trained_project.COLOURS)}
    assert "split       " + known["split"] in shown("drawings/drawings-1.jpg")[1]


def test_every_file_of_its_bytes_is_listed(shown):
    out = shown("porn/porn-0.jpg")[1]
    assert "'porn/porn-0.jpg' of test, as porn" in out
    assert "'porn/copy.jpg' of test, as porn" in out


def test_a_broken_file_is_shown_with_the_reason(shown):
    code, out, _ = shown("neutral/broken.jpg")
    assert code == 0
    assert "quarantine  broken: " in out
    assert "split       -" in out


def test_what_people_wrote_about_it(shown):
    known = json.loads(shown("drawings/drawings-1.jpg", "--json")[1])
    paths.DECISIONS.write_text(
        "sha256,old_label,new_label,reviewer,reason,decided_at,model_version\n"
        f"{known['sha256']},drawings,porn,ann,looked twice,2026-11-26,3\n"
    )
    paths.SLICES.write_text(f"sha256,slice\n{known['sha256']},beach\n")
    out = shown("drawings/drawings-1.jpg")[1]
    assert "decided     porn by ann on 2026-11-26: looked twice" in out
    assert "slice       beach" in out


def test_its_bytes_are_written_to_a_new_file_only(shown, tmp_path):
    out = tmp_path / "picture.jpg"
    assert shown("porn/porn-2.jpg", "--out", str(out))[0] == 0
    assert out.read_bytes() == trained_project.picture("porn", 2)
    out.write_bytes(b"mine")
    code, _, err = shown("porn/porn-2.jpg", "--out", str(out))
    assert (code, out.read_bytes()) == (1, b"mine")
    assert "exists already" in err


def test_before_any_stage_ran_there_are_the_sightings(shown):
    shutil.rmtree(paths.BUILD)
    shutil.rmtree(paths.REPORTS_DIR)
    known = json.loads(shown("drawings/drawings-1.jpg", "--json")[1])
    assert (known["fate"], known["split"], known["prediction"]) == (None, None, None)
    assert len(known["sightings"]) == 1


def test_what_names_no_picture_or_several_is_told(shown, nsfw):
    assert "no file in data/ begins with zz" in nsfw("show", "zz")[2]
    code, _, err = nsfw("show", "")
    assert code == 1
    assert "Type more of it" in err
