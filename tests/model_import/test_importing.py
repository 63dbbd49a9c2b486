import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from onnx import TensorProto, numpy_helper

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.images import sandbox
from pipeline.images.resize import Resize
from pipeline.model_import import importing
from pipeline.model_import.options import ImportOptions
from pipeline.params.root import Params, load_params
from pipeline.registry.loading import open_model
from pipeline.registry.model_versions import Registration
from pipeline.registry.package import Candidate, requirements
from pipeline.serving.networks import Adapter, load_network
from pipeline.tracking import lineage
from pipeline.tracking.mlflow_facts import run_tags
from pipeline.tracking.run_record import RunRecord
from tests.support import foreign_models
from tests.support.foreign_models import (
    CLASSES,
    SIZE,
    edit_config,
    network,
    onnx_answer,
    pixels,
    save_calls,
    save_keras,
    save_onnx,
    save_tfjs,
)

REGISTERED = Registration("nsfw", "incumbent", 1, pending=False, record_id="r", model_sha256="a", uri="models:/nsfw/1")
SAVE = {name: getattr(foreign_models, f"save_{name}") for name in ("tfjs", "keras", "saved_model", "onnx")}
SAVE["keras_2"] = foreign_models.save_keras2_h5


@pytest.fixture
def params(project) -> Params:
    """Params of a project in the working directory, with three labels."""
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["labels"] = {"names": list(CLASSES), "unsafe": ["porn"]}
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_params()


@pytest.fixture
def here(monkeypatch):
    """Inspections run in this process, so that a call of a loader is noticed."""
    monkeypatch.setattr(sandbox, "run", lambda function, items, limits: map(function, items))


@pytest.fixture
def theirs(tmp_path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("kind", SAVE)
def test_a_sound_model_of_each_format_answers_like_its_source(kind, params, theirs, here):
    incumbent = importing.prepare(SAVE[kind](theirs), params, ImportOptions(rescaling="unit"))
    assert (incumbent.format, incumbent.size, incumbent.classes, incumbent.class_source) == (
        kind,
        SIZE,
        CLASSES,
        "params",
    )
    answer = load_network(incumbent.model_file, incumbent.adapter, incumbent.size, 3)(pixels())
    unit = pixels().astype(np.float32) / 255
    wanted = onnx_answer(unit) if kind == "onnx" else network().predict(unit, verbose=0)
    np.testing.assert_allclose(answer, wanted, atol=1e-5)
    record = RunRecord.load(incumbent.folder)
    assert (record.kind, record.status) == ("import", "FINISHED")
    assert run_tags(record)["mlflow.source.name"] == "nsfw import-model"
    assert record.document["params"]["import.sha256"] == incumbent.sha256
    assert record.document["params"]["import.rescaling"] == "unit"
    if kind not in {"tfjs", "keras_2"}:  # which are rebuilt
        assert lineage.digest(incumbent.model_file) == incumbent.sha256


def test_their_order_becomes_ours(params, theirs, here):
    options = ImportOptions(rescaling="unit", classes=("porn", "drawings", "neutral"))
    incumbent = importing.prepare(save_onnx(theirs), params, options)
    answer = load_network(incumbent.model_file, incumbent.adapter, SIZE, 3)(pixels())
    np.testing.assert_allclose(answer, onnx_answer(pixels() / 255)[:, [1, 2, 0]], atol=1e-5)


def test_the_same_import_is_one_record_and_another_word_makes_another(params, theirs, here):
    path = save_onnx(theirs)
    first = importing.prepare(path, params, ImportOptions(rescaling="unit"))
    assert importing.prepare(path, params, ImportOptions(rescaling="unit")) == first
    other = importing.prepare(path, params, ImportOptions(rescaling="symmetric"))
    assert other.folder != first.folder
    assert len(list(paths.RUNS.iterdir())) == 2


def test_how_pictures_were_prepared_is_part_of_the_model(params, theirs, here):
    """Channels, mean and resize as Caffe's models have them; the record tells them apart."""
    path = save_onnx(theirs)
    plain = importing.prepare(path, params, ImportOptions(rescaling="none"))
    options = ImportOptions(mean=(104, 117, 123), channels="bgr", resize=Resize("crop", 40))
    incumbent = importing.prepare(path, params, options)
    assert incumbent.folder != plain.folder
    assert importing.prepare(path, params, options) == incumbent
    assert "resize" not in plain.adapter.to_document()
    assert incumbent.adapter.to_document()["resize"] == {"mode": "crop", "side": 40}
    answer = load_network(incumbent.model_file, incumbent.adapter, SIZE, 3)(pixels())
    np.testing.assert_allclose(answer, onnx_answer(pixels()[..., ::-1] - [104.0, 117.0, 123.0]), atol=1e-5)
    recorded = RunRecord.load(incumbent.folder).document["params"]
    assert (recorded["import.resize"], recorded["import.resize_side"]) == ("crop", 40)
    assert recorded["import.mean"] == "104,117,123"


def _lambda(folder: Path) -> Path:
    inputs = keras.Input((SIZE, SIZE, 3))
    inner = keras.Sequential([keras.layers.Lambda(lambda x: x)])
    features = keras.layers.GlobalAveragePooling2D()(inner(inputs))
    return save_keras(folder, keras.Model(inputs, keras.layers.Dense(3, "softmax")(features)))


def _python(folder: Path) -> Path:
    return save_calls(folder, lambda x: tf.numpy_function(np.negative, [x], tf.float32))


def _external(model) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def _pickle(folder: Path) -> Path:
    (folder / "theirs.keras").write_bytes(b"\x80\x04K\x01.")
    return folder / "theirs.keras"


def _cut(folder: Path) -> Path:
    path = save_keras(folder)
    path.write_bytes(path.read_bytes()[:9000])
    return path


def _wide(folder: Path) -> Path:
    return edit_config(
        save_keras(folder), lambda c: c["config"]["layers"][0]["config"].update(batch_shape=[None, 32, 64, 3])
    )


def _outside(folder: Path) -> Path:
    return save_tfjs(folder, edit=lambda document: document["weightsManifest"][0].update(paths=["../x"]))


BAD = {
    "truncated": (_cut, {}, "cut short"),
    "pickle": (_pickle, {}, "Python pickle"),
    "nested Lambda": (_lambda, {}, "holds a Lambda"),
    "wrong shape": (_wide, {}, "not that of square RGB"),
    "PyFunc": (_python, {}, "PyFunc"),
    "external data": (lambda folder: save_onnx(folder, edit=_external), {}, "another file"),
    "shard outside": (_outside, {}, "shard name"),
    "too many classes": (lambda folder: save_keras(folder, network(classes=5)), {}, "5 outputs for the 3 classes"),
    "class order": (
        lambda folder: save_onnx(folder, edit=lambda model: model.metadata_props.add(key="labels", value="a,b,c")),
        {"classes": ("b", "a", "c")},
        "own classes are a, b, c; --classes says b, a, c",
    ),
    "checksum": (save_onnx, {"sha256": "f" * 64}, "its SHA-256 is"),
    "too large": (lambda folder: save_keras(folder, network(classes=60_000)), {"max_mb": 1}, "--max-mb"),
    "rescaling unsaid": (save_onnx, {"rescaling": None}, "--rescaling"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_model_is_refused_before_it_is_loaded_and_leaves_nothing(name, params, theirs, here, monkeypatch):
    make, words, reason = BAD[name]
    path = make(theirs)
    for loader in ("keras.saving.load_model", "tensorflow.saved_model.load", "onnxruntime.InferenceSession"):
        monkeypatch.setattr(loader, lambda *_, **__: pytest.fail("loaded"))
    for loader in ("importing.load_network", "importing.register_with_evidence", "loading.convert"):
        monkeypatch.setattr(f"pipeline.model_import.{loader}", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(UserError, match=reason) as refusal:
        importing.import_model(path, params, ImportOptions(**{"rescaling": "unit"} | words))
    assert "theirs" in str(refusal.value)
    assert not paths.CACHE.exists()


BINARY = {"rescaling": "unit", "labels": ("safe", "unsafe"), "unsafe": ("unsafe",)}
WEIGHTS, BIAS = np.array([[2.0], [-3.0], [1.5]]), np.array([0.2])


def _unsafe() -> np.ndarray:
    """What a model of WEIGHTS and BIAS calls the probability of unsafe, (5,)."""
    return 1 / (1 + np.exp(-(pixels() / 255).mean(axis=(1, 2)) @ WEIGHTS[:, 0] - BIAS[0]))


@pytest.mark.parametrize(
    ("kind", "outputs"), [("two", "probabilities"), ("sigmoid", "probabilities"), ("logit", "logits")]
)
def test_a_binary_model_answers_its_own_two_labels_however_many_outputs_it_has(kind, outputs, params, theirs, here):
    activation = {"two": "Softmax", "sigmoid": "Sigmoid", "logit": "Identity"}[kind]
    weights, bias = WEIGHTS, BIAS
    if kind == "two":
        weights, bias = np.concatenate([0 * WEIGHTS, WEIGHTS], axis=1), np.array([0.0, BIAS[0]])
    path = foreign_models.save_linear(theirs, weights, bias, activation)
    incumbent = importing.prepare(path, params, ImportOptions(**BINARY, outputs=outputs))
    assert (incumbent.labels, incumbent.match.unsafe) == (("safe", "unsafe"), ("unsafe",))
    answer = load_network(incumbent.model_file, incumbent.adapter, SIZE, 2)(pixels())
    np.testing.assert_allclose(answer, np.stack([1 - _unsafe(), _unsafe()], axis=1), atol=1e-5)
    request = importing.candidate(incumbent, params, {}, name=None)
    assert (request.labels, request.unsafe) == (("safe", "unsafe"), ("unsafe",))
    assert Adapter.from_document(request.adapter) == incumbent.adapter
    (outputs_line,) = [line for line in incumbent.lines(REGISTERED) if "output" in line]
    assert outputs_line.startswith(
        "its outputs are safe, unsafe" if kind == "two" else "its one output is that of unsafe"
    )


def test_one_output_may_have_a_mean_and_a_resize_too(params, theirs, here):
    path = foreign_models.save_linear(theirs, WEIGHTS, BIAS, "Sigmoid")
    scaled = BINARY | {"rescaling": None, "deviation": (255, 255, 255)}
    incumbent = importing.prepare(path, params, ImportOptions(**scaled, resize=Resize("pad", 40)))
    assert (incumbent.adapter.outputs, incumbent.adapter.resize) == ("probability", Resize("pad", 40))
    assert Adapter.from_document(json.loads(json.dumps(incumbent.adapter.to_document()))) == incumbent.adapter
    answer = load_network(incumbent.model_file, incumbent.adapter, SIZE, 2)(pixels())
    np.testing.assert_allclose(answer[:, 1], _unsafe(), atol=1e-5)
    recorded = RunRecord.load(incumbent.folder).document["params"]
    assert (recorded["import.outputs"], recorded["import.resize"]) == ("probability", "pad")


def test_one_output_of_safe_is_turned(params, theirs, here):
    path = foreign_models.save_linear(theirs, WEIGHTS, BIAS, "Sigmoid")
    options = ImportOptions(**BINARY, classes=("unsafe", "safe"))
    incumbent = importing.prepare(path, params, options)
    answer = load_network(incumbent.model_file, incumbent.adapter, SIZE, 2)(pixels())
    np.testing.assert_allclose(answer, np.stack([_unsafe(), 1 - _unsafe()], axis=1), atol=1e-5)


def test_other_labels_are_another_record_and_ours_the_same_as_ever(params, theirs, here):
    path = foreign_models.save_linear(theirs, np.concatenate([0 * WEIGHTS, WEIGHTS], axis=1), np.array([0.0, 0.2]))
    first = importing.prepare(path, params, ImportOptions(**BINARY))
    turned = BINARY | {"labels": ("unsafe", "safe")}
    assert importing.prepare(path, params, ImportOptions(**turned)).folder != first.folder
    assert RunRecord.load(first.folder).document["params"]["import.unsafe"] == ["unsafe"]
    ours = importing.prepare(save_onnx(theirs), params, ImportOptions(rescaling="unit"))
    assert "import.unsafe" not in RunRecord.load(ours.folder).document["params"]


def test_logits_must_be_said(params, theirs, here):
    def no_softmax(model):
        del model.graph.node[3]
        model.graph.node[2].output[0] = "p"

    path = save_onnx(theirs, edit=no_softmax)
    with pytest.raises(UserError, match=r"no probabilities\. If they are logits, say --outputs logits"):
        importing.prepare(path, params, ImportOptions(rescaling="unit"))
    assert not list(paths.CACHE.rglob("*"))
    incumbent = importing.prepare(path, params, ImportOptions(rescaling="unit", outputs="logits"))
    answer = load_network(incumbent.model_file, incumbent.adapter, SIZE, 3)(pixels())
    np.testing.assert_allclose(answer, onnx_answer(pixels() / 255), atol=1e-5)


def test_a_model_that_gives_no_answer_is_refused(params, theirs, here):
    def other_width(model):
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((4, 3), np.float32), "w"))

    with pytest.raises(UserError, match=r"theirs\.onnx is refused: "):
        importing.prepare(save_onnx(theirs, edit=other_width), params, ImportOptions(rescaling="unit"))


def test_an_answer_that_is_not_finite_is_refused(params, theirs, here):
    path = save_onnx(theirs, edit=lambda model: model.graph.initializer[1].__setattr__("raw_data", b"\xff" * 12))
    with pytest.raises(UserError, match="finite"):
        importing.prepare(path, params, ImportOptions(rescaling="unit"))


def _dies(_: object) -> None:
    os._exit(9)


def test_an_inspection_that_crashes_is_a_refusal(params, theirs, monkeypatch):
    """In a real process of its own."""
    path = save_onnx(theirs)
    monkeypatch.setattr("pipeline.model_import.loading.inspect", _dies)
    with pytest.raises(UserError, match="reading it ended in crashed"):
        importing.prepare(path, params, ImportOptions(rescaling="unit"))


@pytest.mark.parametrize(
    ("kind", "package"), [("keras", "keras"), ("saved_model", "tensorflow"), ("onnx", "onnxruntime")]
)
def test_a_version_needs_its_own_formats_library(kind, package, params, theirs, here):
    incumbent = importing.prepare(SAVE[kind](theirs), params, ImportOptions(rescaling="unit"))
    request = importing.candidate(incumbent, params, {}, name=None)
    names = [requirement.partition("==")[0] for requirement in requirements(request)]
    assert package in names
    assert ("tensorflow" in names) == (kind != "onnx")
    document = json.loads(
        json.dumps({"request": request.to_document(), "model_sha256": lineage.digest(request.model_file)})
    )
    assert Candidate.from_document(document, incumbent.folder) == request


def test_a_document_of_before_is_read(tmp_path):
    (tmp_path / paths.MODEL_FILE).write_bytes(b"model")
    request = {"name": "nsfw", "alias": "challenger", "labels": ["a"], "unsafe": ["a"], "size": 32}
    request |= {"rescaling": "unit", "evidence": {}}
    document = {"request": request, "model_sha256": lineage.digest(tmp_path / paths.MODEL_FILE)}
    incumbent = Candidate.from_document(document, tmp_path)
    assert (incumbent.model_file, incumbent.adapter) == (tmp_path / paths.MODEL_FILE, None)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--format", "pickle"],
        ["--rescaling", "x"],
        ["--map", "a"],
        ["--channels", "grb"],
        ["--outputs", "x"],
        ["--resize", "stretch"],
        ["--mean", "1,2"],
        ["--resize-side", "0"],
    ],
)
def test_a_wrong_word_is_wrong_usage(wrong, project, nsfw):
    code, _, errors = nsfw("import-model", "x.keras", *wrong)
    assert code == 2
    assert wrong[0] in errors


def test_a_server_that_does_not_answer_is_told(project_copy, theirs, here, monkeypatch, nsfw):
    Path(".dvc").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, _, errors = nsfw("import-model", save_onnx(theirs), "--rescaling", "unit")
    assert code == 1
    assert "not registered" in errors
    assert "Run the same command again" in errors


@pytest.mark.slow
@pytest.mark.rare  # each answers in this process above
def test_every_format_becomes_a_version_that_answers_in_a_clean_process(
    project_copy, theirs, monkeypatch, tmp_path, nsfw
):
    Path(".dvc").mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for number, (kind, save) in enumerate(SAVE.items(), 1):
        (theirs / kind).mkdir()
        path = save(theirs / kind)
        for _ in range(2 if number == 1 else 1):  # the second import gives the same version
            code, out, errors = nsfw("import-model", path, "--rescaling", "unit", "--json")
            assert (code, json.loads(out)["version"]) == (0, number), errors
    judged = json.loads(nsfw("gates", "1", "--json")[1])
    rows = {row["gate"]: row for row in judged["gates"]}
    assert (rows["evidence"]["status"], rows["clean"]["status"]) == ("pass", "n/a")
    assert rows["class_recall"]["value"] is not None
    code, out, _ = nsfw("history")
    assert "nothing yet in production" in out
    over = [word for row in judged["gates"] if row["status"] == "fail" for word in ("--override", row["gate"])]
    assert nsfw("promote", "1", "--reason", "what runs today", *over)[0] == 0
    code, out, errors = nsfw("verify")
    assert (code, "version 1 of nsfw is loaded" in out) == (0, True), errors
    (tmp_path / "elsewhere").mkdir()
    np.save(tmp_path / "elsewhere" / "pixels.npy", pixels())
    code = """if True:
        import io, json, mlflow, numpy as np, pandas as pd
        from PIL import Image
        def png(pixels):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            return buffer.getvalue()
        frame = pd.DataFrame({"image": [png(pixels) for pixels in np.load("pixels.npy")]})
        answers = [mlflow.pyfunc.load_model(f"models:/nsfw/{number}").predict(frame) for number in range(1, COUNT + 1)]
        print(json.dumps([answer.iloc[:, :3].to_numpy().tolist() for answer in answers]))
    """.replace("COUNT", str(len(SAVE)))
    environment = {
        "PATH": "/usr/bin:/bin",
        "MLFLOW_TRACKING_URI": f"sqlite:///{Path.cwd()}/mlflow.db",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    unit = pixels().astype(np.float32) / 255
    answers = np.array(json.loads(done.stdout.splitlines()[-1]))
    ours = network().predict(unit, verbose=0)
    plain = [onnx_answer(unit) if kind == "onnx" else ours for kind in SAVE]
    for number, (answer, raw) in enumerate(zip(answers, plain, strict=True), start=1):
        decision = open_model(load_params(), str(number)).decision  # its evidence's temperature
        np.testing.assert_allclose(answer, decision.probabilities(raw), atol=1e-5)
