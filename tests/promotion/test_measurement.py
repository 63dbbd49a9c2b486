"""`nsfw measure`: a version on a folder, by the labels that the version itself knows."""

import json
import subprocess

import numpy as np
import pytest

from pipeline.images.preprocessing import FramePixels
from pipeline.promotion import measured_pictures, measurement
from pipeline.serving.decision import Decision
from tests.support.pictures import png

SPEC = {"labels": ["cats", "dogs"], "unsafe": ["dogs"], "size": 32}


def network(pixels: np.ndarray) -> np.ndarray:
    return np.tile(np.float32([0.25, 0.75]), (len(pixels), 1))


@pytest.fixture
def other_labels(makes, tmp_path, monkeypatch):
    """Version 1, whose labels params.yaml does not have (any more)."""
    version = str(makes.version())
    sha256 = makes.client.get_model_version("nsfw", version).tags["nsfw.model_sha256"]
    model = tmp_path / "model.keras"
    model.touch()
    spec = dict(SPEC)
    monkeypatch.setattr(measurement.verification, "fetch_model", lambda *_: (tmp_path, spec))
    monkeypatch.setattr(measurement.verification, "model_file", lambda *_: model)
    monkeypatch.setattr(measurement.verification, "digest", lambda _: sha256)
    monkeypatch.setattr(measurement, "load_network", lambda *_: network)
    return spec


def pictures(folder, rng, *labels):
    for label in labels:
        (folder / label / "deep" / "er").mkdir(parents=True)
        (folder / label / "a.png").write_bytes(png(rng))
        (folder / label / "deep" / "er" / "b.png").write_bytes(png(rng))
    return folder


def test_a_version_of_other_labels_is_measured_on_a_folder_of_its_labels(other_labels, nsfw, tmp_path, rng):
    folder = pictures(tmp_path / "traffic", rng, "cats", "dogs")
    code, out, err = nsfw("measure", folder, "--version", 1, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["pictures"] == 4
    assert report["said"] == {"cats": {"cats": 0, "dogs": 2}, "dogs": {"cats": 0, "dogs": 2}}
    rates = {row["figure"].partition(":")[0]: row["rate"] for row in report["flagged"][:2]}
    assert rates == {"safe, flagged": 1.0, "unsafe, caught": 1.0}


def test_a_folder_of_labels_that_the_version_does_not_know_is_refused_naming_both(other_labels, nsfw, tmp_path, rng):
    folder = pictures(tmp_path / "traffic", rng, "cats", "birds")
    code, out, err = nsfw("measure", folder, "--version", 1)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    labels = "labels of version 1, or of params.yaml: cats, dogs, drawings, neutral, porn"
    assert f"holds 'birds'; its folders must be {labels}" in err


def test_pictures_under_labels_of_params_are_judged_as_unsafe_or_safe(other_labels, nsfw, tmp_path, rng):
    """It calls everything dogs, which is unsafe, with 0.75."""
    folder = pictures(tmp_path / "traffic", rng, "neutral", "porn")
    code, out, err = nsfw("measure", folder, "--version", 1, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["said"] == {"neutral": {"cats": 0, "dogs": 2}, "porn": {"cats": 0, "dogs": 2}}
    rates = {row["figure"].partition(":")[0]: (row["rate"], row["pictures"]) for row in report["flagged"][:2]}
    assert rates == {"safe, flagged": (1.0, 2), "unsafe, caught": (1.0, 2)}
    assert report["calibration"]["before"] == pytest.approx(0.25)  # sure of unsafe to 0.75, right for half of them


def test_a_version_that_does_not_say_its_labels_is_refused(other_labels, nsfw, tmp_path, rng):
    del other_labels["labels"]
    code, _, err = nsfw("measure", pictures(tmp_path / "traffic", rng, "cats"), "--version", 1)
    assert code == 1
    assert "version 1 does not say what it answers (KeyError('labels'))" in err


@pytest.mark.parametrize("name", ["absent", "file", "empty"])
def test_what_is_no_folder_of_folders_is_refused_before_a_server_is_asked(params, nsfw, tmp_path, name, monkeypatch):
    monkeypatch.setattr(measurement.server, "session", lambda: pytest.fail("asked"))
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    code, _, err = nsfw("measure", tmp_path / name)
    assert code == 1
    assert err.startswith(f"error: {tmp_path / name} ")
    assert len(err.splitlines()) == 1


def test_folders_however_deep_are_walked(tmp_path):
    deep = tmp_path / "cats"
    deep.mkdir()
    (deep / "link").symlink_to(tmp_path)
    for _ in range(1500):
        deep /= "d"
        deep.mkdir()
    (deep / "a.jpg").touch()
    try:
        files, refused = measured_pictures.list_files(tmp_path, ("cats",), "version 1")
        assert files == [("cats", str(deep / "a.jpg"))]
        assert refused == {"not_a_file": 1}  # the link
    finally:
        subprocess.run(["rm", "-r", tmp_path / "cats"], check=True)  # pytest's own way is recursive


DECISION = Decision(("drawings", "porn"), ("porn",), temperature=2.0)


def brightness(squares):
    """The brighter, the worse."""
    porn = squares.mean(axis=(1, 2, 3), dtype=float) / 255
    return np.stack([1 - porn, porn], axis=1)


def frames(*levels):
    squares = np.stack([np.full((4, 4, 3), value, np.uint8) for value in levels])
    return FramePixels(squares, tuple(range(len(squares))), len(squares))


def test_an_animation_counts_as_its_worst_frame():
    pictures = [frames(51), frames(0, 204, 102), frames(255, 0), *(frames(153) for _ in range(40))]
    answers = measured_pictures._worst(brightness, DECISION, pictures)
    np.testing.assert_allclose(answers[:, 1], [0.2, 0.8, 1.0, *[0.6] * 40])
