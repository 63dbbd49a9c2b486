from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.model_import.inspection import ModelInfo
from pipeline.model_import.options import ImportOptions, resolve

LABELS = ("drawings", "neutral", "porn")
INFO = ModelInfo("keras", 32, 3)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "theirs.keras"


def options(**values) -> ImportOptions:
    return ImportOptions(**{"rescaling": "none"} | values)


def test_without_a_word_the_order_is_assumed_to_be_ours(path):
    resolved = resolve(path, INFO, options(), LABELS)
    assert (resolved.classes, resolved.class_source, resolved.order, resolved.size) == (LABELS, "params", None, 32)


def test_another_order_is_mapped(path):
    resolved = resolve(path, INFO, options(classes=("porn", "drawings", "neutral")), LABELS)
    assert (resolved.class_source, resolved.order) == ("said", ((1,), (2,), (0,)))


def test_classes_of_theirs_add_up(path):
    theirs = ("safe", "drawing", "hentai", "real", "neutral")
    renamed = {"safe": "neutral", "drawing": "drawings", "hentai": "porn", "real": "porn"}
    resolved = resolve(path, ModelInfo("onnx", 32, 5), options(classes=theirs, renamed=renamed), LABELS)
    assert resolved.order == ((1,), (0, 4), (2, 3))


def test_the_files_own_classes_count_and_may_not_be_contradicted(path):
    own = ModelInfo("onnx", 32, 3, "nchw", ("neutral", "porn", "drawings"))
    resolved = resolve(path, own, options(), LABELS)
    assert (resolved.class_source, resolved.order) == ("file", ((2,), (0,), (1,)))
    assert resolve(path, own, options(classes=own.labels), LABELS).class_source == "said"
    with pytest.raises(UserError, match=r"own classes are neutral, porn, drawings; --classes says drawings, neutral"):
        resolve(path, own, options(classes=LABELS), LABELS)


@pytest.mark.parametrize("name", ["labels.txt", "class_labels.txt", "metadata.json"])
def test_a_list_beside_the_file_is_its_own(path, name):
    text = '{"labels": ["porn", "neutral", "drawings"]}' if name.endswith("json") else "0 porn\n1 neutral\n2 drawings\n"
    (path.parent / name).write_text(text)
    resolved = resolve(path, INFO, options(), LABELS)
    assert (resolved.classes, resolved.class_source) == (("porn", "neutral", "drawings"), "file")
    with pytest.raises(UserError, match="own classes are porn"):
        resolve(path, INFO, options(classes=LABELS), LABELS)


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
        resolve(path, ModelInfo("keras", 32, count), options(**words), LABELS)
    assert "theirs.keras" in str(refusal.value)


def test_a_size_that_the_file_leaves_open_must_be_said(path):
    with pytest.raises(UserError, match="--size"):
        resolve(path, ModelInfo("keras", None, 3), options(), LABELS)
    assert resolve(path, ModelInfo("keras", None, 3), options(size=48), LABELS).size == 48


def test_layers_models_are_nsfwjs_unless_said(path):
    assert resolve(path, ModelInfo("tfjs", 32, 3), options(rescaling=None), LABELS).rescaling == "unit"
    assert resolve(path, ModelInfo("tfjs", 32, 3), options(rescaling="symmetric"), LABELS).rescaling == "symmetric"
