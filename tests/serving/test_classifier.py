import base64
import importlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.images.decode import decode
from pipeline.images.resize import to_square
from pipeline.serving.classifier import Classifier
from pipeline.serving.columns import OUTPUTS, class_column
from pipeline.serving.decision import Decision
from pipeline.tracking.lineage import digest

LABELS = ("drawings", "neutral", "porn")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A model whose output is the softmax of a picture's mean red, green and blue, over 255."""
    import keras

    inputs = keras.Input((32, 32, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Model(inputs, keras.layers.Softmax()(means)).save(path)
    return path


@pytest.fixture(scope="module")
def classifier(model_file):
    return Classifier(model_file, LABELS, 32)


def picture(seed=0, size=(50, 40), kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8) // (1 + seed % 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def expected(data):
    means = to_square(decode(data).image, 32).reshape(-1, 3).mean(axis=0) / 255
    return np.exp(means) / np.exp(means).sum()


def test_probabilities_are_the_models_in_the_labels_order(classifier):
    pictures = [picture(0), picture(1, kind="JPEG"), picture(2, size=(200, 33))]
    probabilities, errors = classifier.predict(pictures)
    assert probabilities.dtype == np.float64
    assert errors == ["", "", ""]
    np.testing.assert_allclose(probabilities, [expected(data) for data in pictures], atol=1e-5)


def test_a_rejected_picture_costs_its_own_row_alone(classifier):
    sound = picture(1)
    pictures = [b"", sound, b"rubbish", sound[:100], picture(0, size=(20, 20))]
    probabilities, errors = classifier.predict(pictures)
    assert [error.split(":")[0] for error in errors] == ["empty", "", "not_a_picture", "broken", "too_small"]
    assert np.isnan(probabilities).all(axis=1).tolist() == [True, False, True, True, True]
    np.testing.assert_allclose(probabilities[1], expected(sound), atol=1e-5)


def test_batches_keep_the_order(classifier):
    pictures = [picture(seed) if seed % 7 else b"x" for seed in range(70)]
    probabilities, errors = classifier.predict(pictures)
    for i, data in enumerate(pictures):
        if i % 7:
            np.testing.assert_allclose(probabilities[i], expected(data), atol=1e-5)
        else:
            assert errors[i]


def test_no_pictures_are_no_rows(classifier):
    probabilities, errors = classifier.predict([])
    assert (probabilities.shape, errors) == ((0, 3), [])


def test_squares_become_calibrated_probabilities_scores_and_verdicts(model_file, classifier):
    pixels = np.stack([to_square(decode(picture(seed)).image, 32) for seed in range(70)])
    raw = classifier.classify(pixels)
    assert set(raw.decisions) == {None}
    assert raw.unsafe.tolist() == [0.0] * 70  # no class is declared unsafe
    middle = float(np.median(raw.probabilities[:, 2] + raw.probabilities[:, 0]))
    decision = Decision(LABELS, ("drawings", "porn"), 0.5, middle)
    scores = Classifier(model_file, LABELS, 32, decision=decision).classify(pixels)
    np.testing.assert_allclose(scores.probabilities, decision.probabilities(raw.probabilities), atol=1e-6)
    np.testing.assert_allclose(scores.unsafe, scores.probabilities[:, [0, 2]].sum(axis=1))
    assert scores.decisions == ["unsafe" if score >= middle else "safe" for score in scores.unsafe]
    assert set(scores.decisions) == {"unsafe", "safe"}


def test_numbers_do_not_depend_on_the_batch(classifier):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    together = classifier.classify(pixels).probabilities
    alone = np.concatenate([classifier.classify(picture_pixels[None]).probabilities for picture_pixels in pixels])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    assert classifier.classify(pixels[:0]).probabilities.shape == (0, 3)


def test_predict_gives_what_classify_gives(model_file):
    calibrated = Classifier(model_file, LABELS, 32, decision=Decision(LABELS, ("porn",), 0.5, 0.4))
    data = picture(3)
    picture_pixels = to_square(decode(data).image, 32)[None]
    np.testing.assert_allclose(
        calibrated.predict([data])[0], calibrated.classify(picture_pixels).probabilities, rtol=0, atol=1e-7
    )


def test_a_decision_about_other_labels_is_refused(model_file):
    with pytest.raises(UserError, match="its decision is about porn, neutral, drawings"):
        Classifier(model_file, LABELS, 32, decision=Decision(LABELS[::-1], ("porn",)))


@pytest.mark.parametrize(("labels", "size"), [(LABELS[:2], 32), (LABELS, 64)])
def test_labels_and_size_must_be_the_models(model_file, labels, size):
    with pytest.raises(UserError, match=r"maps \(None, 32, 32, 3\) to \(None, 3\)"):
        Classifier(model_file, labels, size)


def test_what_is_no_model_is_named(tmp_path, model_file):
    for name, content in {"rubbish.keras": b"rubbish", "cut.keras": model_file.read_bytes()[:1000]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            Classifier(tmp_path / name, LABELS, 32)
    with pytest.raises(UserError, match="does not exist"):
        Classifier(tmp_path / "absent.keras", LABELS, 32)


def test_a_model_with_code_in_it_is_refused(tmp_path):
    import keras

    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Lambda(lambda pixels: pixels[:, 0, 0, :])(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "code.keras")
    with pytest.raises(UserError, match="safely"):
        Classifier(tmp_path / "code.keras", LABELS, 32)


@pytest.fixture(scope="module")
def logged(model_file, tmp_path_factory):
    """The model as MLflow holds it: two artifacts."""
    spec = tmp_path_factory.mktemp("spec") / "model.json"
    spec.write_text(json.dumps({"labels": LABELS, "size": 32, "model_sha256": digest(model_file)}))
    return SimpleNamespace(artifacts={"model": str(model_file), "spec": str(spec)})


def pyfunc(context):
    model = importlib.import_module("pipeline.serving.pyfunc_model").PictureModel()
    model.load_context(context)
    return model


def test_the_pyfunc_takes_bytes_and_base64_and_keeps_the_index(logged):
    data = picture(1)
    cells = [data, bytearray(data), base64.b64encode(data).decode(), None, "not base64!"]
    answer = pyfunc(logged).predict(pd.DataFrame({"image": cells}, index=list("abcde")))
    assert list(answer.columns) == [*LABELS, *OUTPUTS]
    assert answer.loc["a", ["frames", "frames_scored", "deciding_frame"]].tolist() == [1, 1, 0]
    assert answer.loc["e", ["frames", "frames_scored", "deciding_frame"]].isna().all()
    assert list(answer.index) == list("abcde")
    np.testing.assert_allclose(answer.loc[list("abc"), list(LABELS)], [expected(data)] * 3, atol=1e-5)
    assert (answer["error"] == "").tolist() == [True, True, True, False, False]


def test_the_pyfunc_refuses_a_model_that_was_not_registered(logged, tmp_path):
    changed = tmp_path / "model.keras"
    changed.write_bytes(b"another")
    with pytest.raises(ValueError, match="was registered"):
        pyfunc(SimpleNamespace(artifacts=logged.artifacts | {"model": str(changed)}))


DECISION = Decision(LABELS, ("porn",), 0.5, 0.35)


@pytest.fixture(scope="module")
def decided(logged, tmp_path_factory):
    """The model as versions are logged now, with a decision and limits."""
    spec = json.loads(Path(logged.artifacts["spec"]).read_text())
    spec |= {"unsafe": ["porn"], "decision": DECISION.to_document()}
    spec |= {"limits": {"max_pixels": 10_000, "min_side": 8, "max_aspect": 10.0}}
    path = tmp_path_factory.mktemp("decided") / "model.json"
    path.write_text(json.dumps(spec))
    return pyfunc(SimpleNamespace(artifacts=logged.artifacts | {"spec": str(path)}))


def test_the_pyfunc_says_what_every_door_says(decided, model_file):
    pictures = [picture(seed) for seed in range(4)] + [b"x", picture(0, size=(200, 200)), picture(0, size=(20, 20))]
    answer = decided.predict(pd.DataFrame({"image": pictures}))
    pixels = np.stack([to_square(decode(data).image, 32) for data in pictures[:4]])
    wanted = Classifier(model_file, LABELS, 32, decision=DECISION).classify(pixels)
    np.testing.assert_allclose(answer.loc[:3, list(LABELS)], wanted.probabilities, atol=1e-6)
    assert answer["decision"].tolist()[:4] == wanted.decisions
    assert answer["threshold"].tolist() == [0.35] * 7
    codes = [error.partition(":")[0] for error in answer["error"]]
    assert codes == ["", "", "", "", "not_a_picture", "too_many_pixels", ""]
    assert answer.loc[4:5, [*LABELS, "unsafe", "decision"]].isna().all().all()


def test_a_caller_may_bring_a_threshold(decided):
    frame = pd.DataFrame({"image": [picture(1)]})
    for threshold, verdict in ((0.0, "unsafe"), (1.0, "safe")):
        answer = decided.predict(frame, params={"threshold": threshold})
        assert (answer["threshold"].item(), answer["decision"].item()) == (threshold, verdict)
    with pytest.raises(MlflowException, match="threshold must be 0 to 1, not 3"):
        decided.predict(frame, params={"threshold": 3.0})


def test_a_server_refuses_a_request_without_one_sound_picture_and_says_why(decided, monkeypatch):
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    with pytest.raises(MlflowException, match=r"picture 0: empty: .*; picture 1: not_a_picture: ") as refusal:
        decided.predict(pd.DataFrame({"image": [b"", b"x"]}))
    assert refusal.value.get_http_status_code() == 400
    assert "stack_trace" not in refusal.value.serialize_as_json()
    mixed = decided.predict(pd.DataFrame({"image": [b"x", picture(1)]}))
    assert json.loads(mixed.to_json(orient="records"))[0]["unsafe"] is None
    assert mixed["unsafe"].tolist()[0] is None  # JSON has no NaN
    assert mixed["decision"].tolist()[1] in {"safe", "unsafe"}


def test_a_plain_script_is_not_run_again_by_workers(decided, monkeypatch):
    module = importlib.import_module("pipeline.serving.pyfunc_model")
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__="script.py", __spec__=None))
    monkeypatch.setattr(module.sandbox, "run", lambda *_, **__: pytest.fail("spawned"))
    answer = decided.predict(pd.DataFrame({"image": [picture(1), b"x"]}))
    assert (answer["error"] == "").tolist() == [True, False]


def test_a_class_of_an_outputs_name_keeps_apart():
    assert [class_column(label) for label in ("safe", "unsafe", "error")] == ["safe", "p_unsafe", "p_error"]
