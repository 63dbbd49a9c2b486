from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.images.resize import Resize
from pipeline.model_import.inspection import ModelInfo
from pipeline.model_import.options import ImportOptions, match_labels, resolve
from pipeline.params.labels import Labels

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


OURS = Labels(names=LABELS, unsafe=("porn",))


def test_without_labels_of_its_own_it_answers_ours():
    match = match_labels(options(), OURS)
    assert (match.same, match.labels, match.unsafe) == (True, LABELS, ("porn",))
    turned = match_labels(options(labels=("porn", "drawings", "neutral")), OURS)
    assert turned == match


def test_labels_of_its_own():
    match = match_labels(options(labels=("safe", "unsafe"), unsafe=("unsafe",)), OURS)
    assert (match.labels, match.unsafe, match.classes, match.unsafe_classes) == (
        ("safe", "unsafe"),
        ("unsafe",),
        LABELS,
        ("porn",),
    )
    known = match_labels(options(labels=("neutral", "porn")), OURS)
    assert (known.labels, known.unsafe, known.unknown) == (("neutral", "porn"), ("porn",), ("drawings",))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"unsafe": ("porn",)}, r"--unsafe goes with --labels"),
        ({"labels": ("safe", "nsfw")}, r"is safe unsafe\? Name the unsafe ones of the labels: --unsafe a,b"),
        ({"labels": ("safe", "nsfw"), "unsafe": ("porn",)}, r"unsafe names porn; allowed: safe, nsfw"),
        ({"labels": ("safe", "nsfw"), "unsafe": ("safe", "nsfw")}, r"at least one must be safe"),
        ({"labels": ("safe", "safe"), "unsafe": ("safe",)}, r"holds a label twice"),
        ({"labels": ("safe", "n s"), "unsafe": ("n s",)}, r"label 'n s' may hold letters"),
        ({"labels": ("safe",), "unsafe": ("safe",)}, r"at least 2"),
        ({"labels": ("neutral", "nsfw"), "unsafe": ("neutral",)}, r"--unsafe makes neutral unsafe, and it is safe in"),
        ({"labels": ("porn", "nsfw"), "unsafe": ("nsfw",)}, r"--unsafe makes porn safe, and it is unsafe in params"),
    ],
)
def test_labels_that_say_nothing_or_contradict_params_are_refused(words, reason):
    with pytest.raises(UserError, match=reason):
        match_labels(options(**words), OURS)


BINARY = {"labels": ("safe", "unsafe"), "unsafe": ("unsafe",)}


def test_its_outputs_are_its_labels_in_their_order_or_are_mapped_to_them(path):
    resolved = resolve(path, ModelInfo("keras", 32, 2), options(**BINARY), BINARY["labels"])
    assert (resolved.classes, resolved.class_source, resolved.order) == (("safe", "unsafe"), "said", None)
    mapped = options(**BINARY, classes=("nsfw", "sfw"), renamed={"nsfw": "unsafe", "sfw": "safe"})
    assert resolve(path, ModelInfo("keras", 32, 2), mapped, BINARY["labels"]).order == ((1,), (0,))
    own = ModelInfo("onnx", 32, 2, "nchw", ("sfw", "nsfw"))
    with pytest.raises(UserError, match=r"its classes are sfw, nsfw, --labels are safe, unsafe: sfw is none of our"):
        resolve(path, own, options(**BINARY), BINARY["labels"])
    with pytest.raises(UserError, match=r"5 outputs for the 2 classes safe, unsafe; --labels are safe, unsafe"):
        resolve(path, ModelInfo("keras", 32, 5), options(**BINARY), BINARY["labels"])


@pytest.mark.parametrize(
    ("count", "stated", "outputs"),
    [
        (1, "probabilities", "probability"),
        (1, "logits", "logit"),
        (None, "probability", "probability"),
        (None, "logit", "logit"),
        (2, "logits", "logits"),
    ],
)
def test_one_output_is_the_probability_of_the_last_label(path, count, stated, outputs):
    info, stated_options = ModelInfo("keras", 32, count), options(**BINARY, outputs=stated)
    assert resolve(path, info, stated_options, BINARY["labels"]).outputs == outputs
    one_name = ModelInfo("keras", 32, count, "nhwc", ("nsfw",))
    if count != 2:
        assert resolve(path, one_name, stated_options, BINARY["labels"]).classes == ("safe", "unsafe")


def test_one_output_needs_two_labels(path):
    with pytest.raises(UserError, match=r"one output, the probability of the last of two labels.*--labels safe,unsafe"):
        resolve(path, ModelInfo("keras", 32, 1), options(), LABELS)
    with pytest.raises(UserError, match=r"it has 3 outputs, and --outputs logit says one"):
        resolve(path, INFO, options(outputs="logit"), LABELS)


def test_a_mean_and_a_deviation_are_of_the_models_own_channels(path):
    resolved = resolve(path, INFO, options(rescaling=None, mean=(104, 117, 123), deviation=(1, 2, 4)), LABELS)
    assert resolved.rescaling == "mean"
    pixel = np.array([200.0, 100.0, 50.0])
    np.testing.assert_allclose(pixel * resolved.scale + resolved.offset, (pixel - [104, 117, 123]) / [1, 2, 4])
    only = resolve(path, INFO, options(rescaling=None, deviation=(255, 255, 255)), LABELS)
    assert (only.scale, only.offset) == ((1 / 255,) * 3, (0, 0, 0))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"mean": (1, 2, 3)}, "either --rescaling, or --mean"),
        ({"rescaling": None, "mean": (1, 2, float("nan"))}, "--mean must be three numbers"),
        ({"rescaling": None, "deviation": (1, 0, 1)}, "--deviation three positive ones"),
        ({"resize": Resize("crop", 16)}, "--resize-side 16 is less than the 32 px"),
    ],
)
def test_preprocessing_that_contradicts_itself_is_refused(path, words, reason):
    with pytest.raises(UserError, match=reason):
        resolve(path, INFO, options(**words), LABELS)


@pytest.mark.parametrize("rescaling", ["none", "unit", "symmetric", "imagenet", "clip", "128ths"])
def test_a_range_that_has_a_name_is_of_the_same_colours_whatever_their_order(path, rescaling):
    rgb, bgr = (resolve(path, INFO, options(rescaling=rescaling, channels=order), LABELS) for order in ("rgb", "bgr"))
    pixels = np.array([[[[10.0, 90.0, 200.0]]]])
    np.testing.assert_allclose(
        (pixels[..., ::-1] * bgr.scale + bgr.offset)[..., ::-1], pixels * rgb.scale + rgb.offset, rtol=1e-6
    )
