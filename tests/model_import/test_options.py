from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.model_import.inspection import Found
from pipeline.model_import.options import Said, agree

LABELS = ("drawings", "neutral", "porn")
FOUND = Found("keras", 32, 3)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "theirs.keras"


def said(**values) -> Said:
    return Said(**{"rescaling": "none"} | values)


def test_without_a_word_the_order_is_assumed_to_be_ours(path):
    terms = agree(path, FOUND, said(), LABELS)
    assert (terms.classes, terms.stated, terms.order, terms.size) == (LABELS, "params", None, 32)


def test_another_order_is_mapped(path):
    terms = agree(path, FOUND, said(classes=("porn", "drawings", "neutral")), LABELS)
    assert (terms.stated, terms.order) == ("said", ((1,), (2,), (0,)))


def test_classes_of_theirs_add_up(path):
    theirs = ("safe", "drawing", "hentai", "real", "neutral")
    renamed = {"safe": "neutral", "drawing": "drawings", "hentai": "porn", "real": "porn"}
    terms = agree(path, Found("onnx", 32, 5), said(classes=theirs, renamed=renamed), LABELS)
    assert terms.order == ((1,), (0, 4), (2, 3))


def test_the_files_own_classes_count_and_may_not_be_contradicted(path):
    own = Found("onnx", 32, 3, "nchw", ("neutral", "porn", "drawings"))
    terms = agree(path, own, said(), LABELS)
    assert (terms.stated, terms.order) == ("file", ((2,), (0,), (1,)))
    assert agree(path, own, said(classes=own.labels), LABELS).stated == "said"
    with pytest.raises(UserError, match=r"own classes are neutral, porn, drawings; --classes says drawings, neutral"):
        agree(path, own, said(classes=LABELS), LABELS)


@pytest.mark.parametrize("name", ["labels.txt", "class_labels.txt", "metadata.json"])
def test_a_list_beside_the_file_is_its_own(path, name):
    text = '{"labels": ["porn", "neutral", "drawings"]}' if name.endswith("json") else "0 porn\n1 neutral\n2 drawings\n"
    (path.parent / name).write_text(text)
    terms = agree(path, FOUND, said(), LABELS)
    assert (terms.classes, terms.stated) == (("porn", "neutral", "drawings"), "file")
    with pytest.raises(UserError, match="own classes are porn"):
        agree(path, FOUND, said(classes=LABELS), LABELS)


@pytest.mark.parametrize(
    ("count", "words", "reason"),
    [
        (4, {}, r"4 outputs for the 3 classes drawings, neutral, porn; labels.names in params.yaml are drawings"),
        (3, {"classes": ("a", "b")}, r"3 outputs for the 2 classes a, b"),
        (3, {"classes": ("porn", "porn", "neutral")}, r"3 outputs for the 3 classes porn, porn"),
        (3, {"classes": ("porn", "sexy", "neutral")}, r"sexy is none of our labels; say --map sexy=LABEL"),
        (2, {"classes": ("porn", "neutral")}, r"none of its classes is drawings"),
        (3, {"renamed": {"sexy": "porn"}}, r"--map names sexy, which it does not have"),
        (3, {"renamed": {"porn": "sexy"}}, r"sexy is none of our labels"),
        (3, {"size": 64}, r"takes pictures of 32 px, and --size says 64"),
        (3, {"rescaling": None}, r"--rescaling none .*unit.*symmetric.*imagenet"),
    ],
)
def test_what_does_not_fit_is_refused(path, count, words, reason):
    with pytest.raises(UserError, match=reason) as refusal:
        agree(path, Found("keras", 32, count), said(**words), LABELS)
    assert "theirs.keras" in str(refusal.value)


def test_a_size_that_the_file_leaves_open_must_be_said(path):
    with pytest.raises(UserError, match="--size"):
        agree(path, Found("keras", None, 3), said(), LABELS)
    assert agree(path, Found("keras", None, 3), said(size=48), LABELS).size == 48


def test_layers_models_are_nsfwjs_unless_said(path):
    assert agree(path, Found("tfjs", 32, 3), said(rescaling=None), LABELS).rescaling == "unit"
    assert agree(path, Found("tfjs", 32, 3), said(rescaling="symmetric"), LABELS).rescaling == "symmetric"
