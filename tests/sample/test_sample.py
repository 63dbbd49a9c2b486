import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from pipeline.core.errors import UserError
from pipeline.core.tables import read_csv
from pipeline.sample.drawing import DRAW
from pipeline.sample.sample import LABELS, PLACEHOLDERS_EACH, UNUSUAL_EACH, draw_sample
from pipeline.sample.variants import BROKEN, NEAR, UNUSUAL, encode, near_copy

PICTURES = 120
COLUMNS = ["path", "kind", "of", "label", "true_label", "transform"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, dict[str, int]]:
    folder = tmp_path_factory.mktemp("sample")
    counts = draw_sample(folder / "scrape", folder / "truth.csv", seed=1, pictures=PICTURES)
    return folder / "scrape", read_csv(folder / "truth.csv", COLUMNS), counts


def contents(out: Path) -> dict[str, tuple[str, int]]:
    files = (path for path in out.rglob("*") if path.is_file())
    return {
        path.relative_to(out).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


def opens(data: bytes) -> bool:
    """Return whether a picture is usable: a known format, at least 32 px, at most 10 : 1 and 50 MP, complete."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "GIF", "BMP")) as image:
            if min(image.size) < 32 or max(image.size) > 10 * min(image.size) or np.prod(image.size) > 50_000_000:
                return False
            image.load()
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return False
    return True


def test_truth_names_every_file_once(drawn):
    out, truth, counts = drawn
    assert sorted(truth["path"]) == sorted(contents(out))
    assert truth["path"].is_unique
    assert list(truth.columns) == COLUMNS
    assert (truth["path"].str.split("/").str[0] == truth["label"]).all()
    assert truth["kind"].value_counts().to_dict() == counts


def test_counts_and_shares(drawn):
    _, truth, counts = drawn
    assert counts == {
        "original": 115,
        "mislabelled": 5,
        "copy": 5,
        "near": 10,
        "unusual": UNUSUAL_EACH * len(UNUSUAL),
        "placeholder": PLACEHOLDERS_EACH * len(LABELS),
        "broken": len(BROKEN) * len(LABELS),
    }
    sizes = truth[truth["kind"].isin(["original", "mislabelled"])].groupby("true_label").size()
    assert sizes.idxmax() == "neutral"
    assert sizes.idxmin() == "hentai"
    assert sizes.max() / sizes.min() <= 1.6
    assert set(truth.loc[truth["kind"] == "near", "transform"]) == set(NEAR)
    for kind, expected in (("broken", set(BROKEN)), ("unusual", set(UNUSUAL))):
        assert set(truth.loc[truth["kind"] == kind, "transform"]) == expected


def test_same_seed_same_bytes_and_times_another_seed_differs(drawn, tmp_path):
    out, truth, _ = drawn
    draw_sample(tmp_path / "again", tmp_path / "again.csv", seed=1, pictures=PICTURES)
    assert contents(tmp_path / "again") == contents(out)
    pd.testing.assert_frame_equal(read_csv(tmp_path / "again.csv", COLUMNS), truth)
    draw_sample(tmp_path / "other", tmp_path / "other.csv", seed=2, pictures=25)
    originals = set(truth.loc[truth["kind"] == "original", "path"])
    other = contents(tmp_path / "other")
    assert not originals & set(other)
    assert not {contents(out)[path][0] for path in originals} & {digest for digest, _ in other.values()}
    assert len({time for _, time in [*other.values(), *contents(out).values()]}) == 2


def test_a_picture_does_not_depend_on_how_many_are_drawn(drawn, tmp_path):
    out, truth, _ = drawn
    draw_sample(tmp_path / "few", tmp_path / "few.csv", seed=1, pictures=25)
    few = read_csv(tmp_path / "few.csv", COLUMNS)
    few = few[few["kind"] == "original"]
    drawn_then = {contents(out)[path][0] for path in truth.loc[truth["kind"].isin(["original", "mislabelled"]), "path"]}
    assert {contents(tmp_path / "few")[path][0] for path in few["path"]} <= drawn_then


def test_sound_files_open_and_broken_do_not(drawn):
    out, truth, _ = drawn
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    wrong = [
        (row.kind, row.transform, row.path)
        for row in truth.itertuples()
        if opens((out / str(row.path)).read_bytes()) != (row.kind != "broken")
    ]
    assert wrong == []


def test_copies_are_equal_bytes_and_originals_are_not(drawn):
    out, truth, _ = drawn
    digests = {path: digest for path, (digest, _) in contents(out).items()}
    copies = truth[truth["kind"] == "copy"]
    assert [digests[path] for path in copies["path"]] == [digests[of] for of in copies["of"]]
    assert copies["of"].is_unique
    alone = truth[truth["kind"].isin(["original", "mislabelled", "near", "unusual"])]
    assert alone["path"].map(digests).is_unique


def test_conflicts_and_wrong_labels_are_what_the_truth_says(drawn):
    _, truth, _ = drawn
    kinds = truth.set_index("path")["kind"]
    for kind, conflicts in (("copy", 1), ("near", 2)):
        rows = truth[truth["kind"] == kind]
        assert (rows["label"] != rows["true_label"]).sum() == conflicts
        assert (rows["of"].map(kinds) == "original").all()
        assert (rows["of"].map(truth.set_index("path")["true_label"]) == rows["true_label"]).all()
    right = truth["label"] == truth["true_label"]
    assert right[truth["kind"].isin(["original", "unusual"])].all()
    assert not right[truth["kind"] == "mislabelled"].any()
    assert (truth.loc[truth["kind"].isin(["broken", "placeholder"]), "true_label"] == "").all()


def test_the_whole_sample_stays_under_its_budget(drawn):
    out, truth, _ = drawn
    sizes = truth["path"].map(lambda path: (out / path).stat().st_size)
    grows = truth["kind"].isin(["original", "mislabelled", "copy", "near"])
    assert sizes[grows].sum() * 1300 / PICTURES + sizes[~grows].sum() < 12e6


@pytest.mark.parametrize("label", LABELS)
def test_pictures_have_modest_and_varied_sizes(label):
    sizes = [DRAW[label](np.random.default_rng(n)).size for n in range(12)]
    assert len(set(sizes)) > 6
    assert all(96 <= side <= 180 for size in sizes for side in size)


@pytest.mark.parametrize("transform", NEAR)
def test_near_copies_look_like_their_source_yet_differ(transform):
    # Large shapes, because a border shifts narrow bands, which then do not correlate.
    source = encode(DRAW["drawings"](np.random.default_rng(3)), quality=90)
    copy = Image.open(io.BytesIO(near_copy(source, transform, np.random.default_rng(4))))
    seen = ImageOps.mirror(copy) if transform == "mirrored" else copy
    original = Image.open(io.BytesIO(source))
    small = [np.asarray(image.convert("L").resize((24, 24)), dtype=float).ravel() for image in (original, seen)]
    assert copy.tobytes() != original.tobytes()
    assert np.corrcoef(small)[0, 1] > 0.3


def test_formats_are_what_they_are_called():
    picture = DRAW["drawings"](np.random.default_rng(5))
    seen = {name: Image.open(io.BytesIO(make(picture))) for name, (_, make) in UNUSUAL.items()}
    assert {name: seen[name].mode for name in ("cmyk", "grey16", "rgba", "palette")} == {
        "cmyk": "CMYK",
        "grey16": "I;16",
        "rgba": "RGBA",
        "palette": "P",
    }
    assert seen["animated gif"].n_frames == seen["animated webp"].n_frames == 3
    assert seen["progressive"].info["progressive"]
    assert seen["png named jpg"].format == "PNG"
    turned = seen["exif rotated"]
    assert turned.size == picture.size[::-1]
    upright = np.asarray(ImageOps.exif_transpose(turned), dtype=float)
    assert np.abs(upright - np.asarray(picture, dtype=float)).mean() < 12


def test_names_are_hostile_but_possible(drawn):
    _, truth, _ = drawn
    names = set(truth["path"].str.split("/").str[1])
    assert {"UPPER.JPEG", "two\nlines.jpg", "comma, semi; <b>tag<.b>.jpg"} <= names
    assert max(map(len, names)) == 200
    assert any("." not in name for name in names)


def test_refuses_a_folder_that_holds_something(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(UserError, match="not an empty folder"):
        draw_sample(tmp_path, tmp_path.parent / "truth.csv", pictures=25)
    with pytest.raises(UserError, match="not an empty folder"):
        draw_sample(tmp_path / "mine.txt", tmp_path / "truth.csv", pictures=25)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("seed", "pictures", "message"), [(-1, 100, "seed"), (1, 24, "pictures")])
def test_refuses_impossible_arguments(tmp_path, seed, pictures, message):
    with pytest.raises(UserError, match=message):
        draw_sample(tmp_path / "out", tmp_path / "truth.csv", seed=seed, pictures=pictures)
    assert not (tmp_path / "out").exists()


def test_leaves_nothing_behind_when_it_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.sample.sample.placeholder", lambda quality: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_sample(tmp_path / "out", tmp_path / "truth.csv", pictures=25)
    assert list(tmp_path.iterdir()) == []
