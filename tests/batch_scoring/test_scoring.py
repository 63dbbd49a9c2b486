import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pipeline.batch_scoring import parts, scoring
from pipeline.batch_scoring.scoring import Job
from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.images.decode import decode
from pipeline.images.limits import Limits
from pipeline.images.resize import to_square
from pipeline.params.root import load_params
from pipeline.registry.loading import open_model
from tests.support.scored_model import DECISION, LABELS, save_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("version"))


@pytest.fixture
def model(model_folder, project):
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["labels"] = {"names": list(LABELS), "unsafe": ["porn"]}
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return open_model(load_params(), str(model_folder))


def picture(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (20, 30, 3)) * rng.uniform(0.2, 1, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder: Path, names) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / name).write_bytes(picture(seed))


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "SIZE", 7)


def score(model, out="out.parquet", where=("in",), **more):
    return scoring.score(model, load_params(), Job(tuple(map(os.fsencode, where)), Path(out), **more))


def expected(data: bytes) -> np.ndarray:
    means = to_square(decode(data, Limits(min_side=8)).image, 32).reshape(-1, 3).mean(axis=0) / 255 / 0.5
    return np.exp(means) / np.exp(means).sum()


def test_every_input_has_its_row_in_order(model, small_parts):
    fill(Path("in"), [f"{n:02}.png" for n in range(20)])
    spoilt = {"03.png": b"", "04.png": b"rubbish", "05.png": picture(5)[:300]}
    for name, data in spoilt.items():
        Path("in", name).write_bytes(data)
    os.mkfifo("in/zz")
    Path("in/zzz").symlink_to("00.png")
    with tarfile.open("more.tar", "w") as archive:
        archive.add("in/00.png", "abs.png")
    report = score(model, where=("in", "more.tar"))
    rows = pd.read_parquet("out.parquet")
    assert rows["path"].tolist() == [f"in/{n:02}.png" for n in range(20)] + ["in/zz", "in/zzz", "more.tar::abs.png"]
    codes = rows["error"].str.partition(":")[0]
    assert codes[3:6].tolist() == ["empty", "not_a_picture", "broken"]
    assert codes[20:].tolist() == ["not_a_file", "not_a_file", ""]
    sound = rows[rows["error"] == ""]
    assert len(sound) == 18
    for row in sound.itertuples():
        data = Path("in/00.png" if "::" in row.path else row.path).read_bytes()
        assert row.sha256 == hashlib.sha256(data).hexdigest()
        wanted = expected(data)
        np.testing.assert_allclose([row.p_drawings, row.p_neutral, row.p_porn], wanted, atol=1e-5)
        assert row.unsafe == row.p_porn
        assert (row.decision, row.threshold) == ("unsafe" if row.p_porn >= 0.34 else "safe", 0.34)
    spoilt_rows = rows[rows["error"] != ""]
    assert spoilt_rows[["p_porn", "unsafe", "decision"]].isna().all().all()
    assert spoilt_rows["sha256"].iloc[0] == hashlib.sha256(b"").hexdigest()
    assert set(rows["model"]) == {model.spec["model_sha256"]}
    assert report.tally.unreadable == {"empty": 1, "not_a_picture": 1, "broken": 1, "not_a_file": 2}
    assert report.to_document()["flagged"] == (sound["decision"] == "unsafe").sum()
    assert (report.tally.scored, report.tally.rows, report.reused) == (18, 23, 0)
    assert not Path("out.parquet.parts").exists()


def test_the_formats_hold_the_same_and_a_formula_is_no_formula(model, monkeypatch):
    names = sorted(["=cmd|' !A0", "+1", "@x", 'a,b\n"c".png', "é.png", "-2"], key=os.fsencode)
    fill(Path("in"), names)
    params = load_params()
    monkeypatch.chdir("in")
    for suffix in ("parquet", "csv", "jsonl"):
        scoring.score(model, params, Job(tuple(map(os.fsencode, names)), Path(f"../out/rows.{suffix}")))
    whole = pd.read_parquet("../out/rows.parquet")
    lines = [json.loads(line) for line in Path("../out/rows.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert whole["path"].tolist() == [line["path"] for line in lines] == names
    assert whole["p_porn"].tolist() == [line["p_porn"] for line in lines]
    with Path("../out/rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"].removeprefix("'") for row in rows] == names
    assert not [row["path"] for row in rows if row["path"][0] in "=+-@"]
    assert [float(row["p_porn"]) for row in rows] == whole["p_porn"].tolist()


def cut_after(monkeypatch, parts_done: int) -> None:
    """End the run as a kill would, after `parts_done` parts are written."""
    save, done = parts.save, []

    def killed(*arguments):
        if len(done) == parts_done:
            raise KeyboardInterrupt
        save(*arguments)
        done.append(arguments)

    monkeypatch.setattr(parts, "save", killed)


def test_a_run_cut_short_goes_on_to_the_same_bytes(model, small_parts, monkeypatch):
    fill(Path("in"), [f"{n:02}.png" for n in range(30)])
    Path("in/11.png").write_bytes(b"x")
    score(model, "whole.csv")
    with monkeypatch.context() as patch:
        cut_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            score(model, "out.csv")
    assert not Path("out.csv").exists()
    classified = []
    classify = type(model.classifier()).classify
    with monkeypatch.context() as patch:
        patch.setattr(
            "pipeline.serving.classifier.Classifier.classify",
            lambda self, squares: classified.append(len(squares)) or classify(self, squares),
        )
        report = score(model, "out.csv")
    assert (sum(classified), report.reused, report.tally.rows) == (16, 14, 30)
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_what_has_changed_meanwhile_is_scored_again_and_nothing_else(model, small_parts, monkeypatch):
    names = [f"{n:02}.png" for n in range(21)]
    fill(Path("in"), names)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.batch_scoring.result.assemble", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            score(model)
    Path("in/05.png").write_bytes(picture(99) + b" ")
    Path("in/20.png").unlink()
    Path("in/13.png").unlink()
    report = score(model)
    rows = pd.read_parquet("out.parquet")
    assert rows["path"].tolist() == [f"in/{name}" for name in names if name not in {"13.png", "20.png"}]
    for name in ("05.png", "14.png"):
        probability = rows.loc[rows["path"] == f"in/{name}", "p_porn"].item()
        assert probability == pytest.approx(expected(Path("in", name).read_bytes())[2], abs=1e-5)
    assert report.reused == 17  # 05 has changed; 14 has moved to another part


def test_what_load_did_to_a_worker_is_tried_again_by_the_run_that_goes_on(model, small_parts, monkeypatch):
    fill(Path("in"), [f"{n:02}.png" for n in range(10)])
    Path("in/01.png").write_bytes(b"x")
    score(model, "whole.csv")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.batch_scoring.result.assemble", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            score(model, "out.csv")
    part = Path("out.csv.parts/00000000.parquet")
    rows = pq.read_table(part).to_pylist()
    for number, code in ((2, "timeout"), (4, "memory"), (5, "crashed"), (6, "unavailable")):
        rows[number] |= {"error": f"{code}: at load 20", "unsafe": None, "decision": None}
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(part)), part)
    report = score(model, "out.csv")
    assert report.reused == 6  # 01 is broken whatever the load
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_rows_of_another_model_are_not_mixed(model, small_parts, monkeypatch, tmp_path):
    fill(Path("in"), [f"{n:02}.png" for n in range(10)])
    with monkeypatch.context() as patch:
        cut_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            score(model)
    other = tmp_path / "other"
    shutil.copytree(model.folder, other)
    spec = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps(spec | {"decision": spec["decision"] | {"threshold": 0.2}}))
    changed = open_model(load_params(), str(other))
    with pytest.raises(UserError, match=r"scored otherwise \(decision was .*--restart throws them away"):
        score(changed)
    report = score(changed, restart=True)
    assert (report.reused, report.threshold) == (0, 0.2)


def test_a_broken_part_is_made_again(model, small_parts, monkeypatch):
    fill(Path("in"), [f"{n:02}.png" for n in range(10)])
    with monkeypatch.context() as patch:
        cut_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            score(model)
    Path("out.parquet.parts/00000000.parquet").write_bytes(b"PAR1")
    assert score(model).reused == 0


def test_names_that_lead_nowhere_have_a_row_each(model):
    """A link that leads back to itself, names too long for the file system, a NUL, a folder that is a file."""
    fill(Path(), ["a.png"])
    Path("loop").symlink_to("loop")
    names = ["loop", "x" * 5000, "y/" * 2500, "a\0b", "a.png/b", "a.png"]
    assert score(model, where=names).tally.rows == len(names)
    rows = pd.read_parquet("out.parquet")
    assert rows["error"].str.partition(":")[0].tolist() == ["unreadable"] * 5 + [""]


def test_where_no_file_can_be_written_nothing_is_scored(model):
    fill(Path("in"), ["a.png"])
    Path("out.parquet").mkdir()
    with pytest.raises(UserError, match=r"^out\.parquet is a folder"):
        score(model, restart=True)


def test_a_result_is_not_overwritten_nor_read(model):
    fill(Path("in"), ["a.png"])
    score(model)
    with pytest.raises(UserError, match=r"out.parquet is there already.*--restart"):
        score(model)
    score(model, restart=True)
    with pytest.raises(UserError, match=r"lies in .*/in, which is to be scored"):
        score(model, "in/deep/out.csv")
    with pytest.raises(UserError, match=r"a result ends in .parquet, .csv, .jsonl"):
        score(model, "out.xlsx")


def test_only_one_at_a_time(model):
    fill(Path("in"), ["a.png"])
    with (
        parts.open_parts(Path("out.parquet"), {}, restart=False),
        pytest.raises(UserError, match=r"another `nsfw score` is writing out\.parquet"),
    ):
        score(model)


def test_no_inputs_are_no_rows(model):
    Path("in").mkdir()
    assert score(model).tally.rows == 0
    assert pd.read_parquet("out.parquet").columns[0] == "path"


def test_the_command_says_what_it_did(model, model_folder, nsfw):
    fill(Path("in"), ["a.png", "b.png"])
    Path("list").write_text("in/b.png\nin/gone.png\n")
    arguments = ("score", "in/a.png", "--list", "list", "--model", model_folder, "--out", "out.csv", "--json")
    code, out, errors = nsfw(*arguments)
    assert code == 0, errors
    document = json.loads(out)
    assert (document["rows"], document["scored"], document["unreadable"]) == (3, 2, {"unreadable": 1})
    for wrong in (("score", "--out", "x.csv"), ("score", "in", "--out", "x.xlsx")):
        assert nsfw(*wrong)[0] == 2
    code, _, errors = nsfw("score", "nowhere", "--out", "x.csv")
    assert (code, "nowhere does not exist" in errors) == (1, True)


@pytest.mark.slow
def test_a_killed_run_loses_no_row_and_goes_on(model, model_folder):
    """kill -9, again and again, wherever it hits; the workers die with their parent."""
    fill(Path("in"), [f"{n:04}.png" for n in range(3000)])
    score(model, "whole.parquet")
    code = "from pipeline.cli.console import main\nif __name__ == '__main__': main()"
    command = [sys.executable, "-c", code, "score", "in", "--model", str(model_folder), "--out", "out.parquet"]
    tries = 0
    while not (Path("out.parquet").exists() and not Path("out.parquet.parts").exists()):
        tries += 1
        running_one = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            done = Path("out.parquet.parts")
            before = len(list(done.glob("*.parquet")))
            end = time.monotonic() + 120
            while running_one.poll() is None and len(list(done.glob("*.parquet"))) < before + 2:
                assert time.monotonic() < end
                time.sleep(0.02)
        running_one.send_signal(signal.SIGKILL)
        running_one.wait()
        assert tries < 30
    assert tries > 1
    assert Path("out.parquet").read_bytes() == Path("whole.parquet").read_bytes()


def test_an_animation_is_judged_by_its_worst_frame_and_the_row_says_which(model):
    colours = [Image.new("RGB", (30, 20), colour) for colour in ("white", "red", "blue", "lime")]
    Path("in").mkdir()
    colours[0].save("in/a.gif", save_all=True, append_images=colours[1:], duration=[10, 50, 20, 900])
    colours[2].save("in/b.png")
    colours[0].save("in/c.png")
    Path("in/d.png").write_bytes(b"no picture")
    score(model)
    rows = pd.read_parquet("out.parquet")
    assert rows["frames"].tolist()[:3] == rows["frames_scored"].tolist()[:3] == [4, 1, 1]
    assert rows["deciding_frame"].tolist()[:3] == [2, 0, 0]  # for this model, blue is porn
    assert rows["unsafe"][0] == pytest.approx(rows["unsafe"][1], abs=1e-6)
    assert rows["decision"].tolist()[:3] == ["unsafe", "unsafe", "safe"]
    assert rows.loc[3, ["frames", "frames_scored", "deciding_frame"]].isna().all()


def test_rows_of_many_frames_and_of_one_are_not_mixed_up(model):
    rng = np.random.default_rng(3)
    Path("in").mkdir()
    for number in range(70):
        count = int(rng.integers(1, 9))
        images = [
            Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8) // (1 + k % 3)) for k in range(count)
        ]
        images[0].save(f"in/{number:02}.png", save_all=True, append_images=images[1:], duration=100)
    score(model)
    rows = pd.read_parquet("out.parquet")
    for number in (0, 17, 40, 69):
        with Image.open(f"in/{number:02}.png") as image:
            image.seek(int(rows["deciding_frame"][number]))
            means = to_square(image.convert("RGB"), 32).reshape(-1, 3).mean(axis=0) / 255
        expected = np.exp(means) / np.exp(means).sum()
        np.testing.assert_allclose(
            rows.loc[number, ["p_drawings", "p_neutral", "p_porn"]].to_numpy(float),
            DECISION.probabilities(expected[None])[0],
            atol=1e-5,
        )
