import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.images.resize import Resize
from pipeline.serving.networks import Adapter, load_network
from tests.support.foreign_models import SIZE, network, onnx_answer, pixels, save_keras, save_onnx, save_saved_model

UNIT = (1 / 255, 1 / 255, 1 / 255)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def wanted(model):
    return model.predict(pixels().astype(np.float32) / 255, verbose=0)


def test_our_own_models_need_no_adapter(model, tmp_path):
    answer = load_network(save_keras(tmp_path, model), Adapter(), SIZE, 3)(pixels())
    np.testing.assert_allclose(answer, model.predict(pixels().astype(np.float32), verbose=0), atol=1e-6)


@pytest.mark.parametrize(("kind", "save"), [("keras", save_keras), ("saved_model", save_saved_model)])
def test_a_models_answers_are_its_sources(kind, save, model, wanted, tmp_path):
    answer = load_network(save(tmp_path, model), Adapter(kind=kind, scale=UNIT), SIZE, 3)(pixels())
    np.testing.assert_allclose(answer, wanted, atol=1e-5)


@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_onnx_takes_channels_first_and_batches_of_its_own_size(batch, tmp_path):
    ours = Adapter(kind="onnx", scale=UNIT, layout="nchw")
    answer = load_network(save_onnx(tmp_path, batch), ours, SIZE, 3)(pixels())
    np.testing.assert_allclose(answer, onnx_answer(pixels() / 255), atol=1e-5)


def test_channels_scale_and_offset_are_in_the_networks_order(tmp_path):
    ours = Adapter("onnx", (1 / 255, 2 / 255, 3 / 255), (0.1, 0.2, 0.3), "nchw", "bgr")
    answer = load_network(save_onnx(tmp_path), ours, SIZE, 3)(pixels())
    theirs = pixels()[..., ::-1] / 255 * [1, 2, 3] + [0.1, 0.2, 0.3]
    np.testing.assert_allclose(answer, onnx_answer(theirs), atol=1e-5)


def test_an_adapter_keeps_its_resize_and_a_plain_one_is_written_as_before():
    cropping = Adapter(resize=Resize("crop", 40))
    assert Adapter.from_document(json.loads(json.dumps(cropping.to_document()))) == cropping
    assert "resize" not in Adapter().to_document()
    with pytest.raises(ValueError, match="the resize is 'stretch'"):
        Adapter.from_document({"resize": {"mode": "stretch", "side": None}})


def test_outputs_are_picked_and_added_up():
    answer = Adapter(order=((2,), (0, 3), (1,))).to_labels(np.array([[0.1, 0.2, 0.3, 0.4]]))
    np.testing.assert_allclose(answer, [[0.3, 0.5, 0.2]])


@given(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3))
def test_logits_become_shares_in_the_same_order(row):
    (answer,) = Adapter(outputs="logits").to_labels(np.array([row]))
    assert answer.sum() == pytest.approx(1)
    assert np.isfinite(answer).all()
    assert answer[np.argmax(row)] == answer.max()


@given(
    st.builds(
        Adapter,
        kind=st.sampled_from(["keras", "saved_model", "onnx"]),
        scale=st.tuples(*[st.floats(-300, 300)] * 3),
        channels=st.sampled_from(["rgb", "bgr"]),
        order=st.none() | st.just(((1, 2), (0,))),
    )
)
def test_an_adapter_survives_json(ours):
    assert Adapter.from_document(json.loads(json.dumps(ours.to_document()))) == ours


def test_no_document_is_our_own_models_and_a_later_one_is_refused():
    assert Adapter.from_document(None) == Adapter()
    with pytest.raises(ValueError, match="does not know"):
        Adapter.from_document({"kind": "keras", "tiles": 4})


@pytest.mark.parametrize(
    ("ours", "size", "classes"),
    [
        (Adapter(kind="onnx", layout="nchw"), SIZE, 4),
        (Adapter(kind="onnx", layout="nchw"), 64, 3),
        (Adapter(kind="onnx"), SIZE, 3),
        (Adapter(kind="onnx", layout="nchw", order=((0,), (1,))), SIZE, 2),
        (Adapter(kind="onnx", layout="nchw", order=((0,), (1,), (2,))), SIZE, 2),
    ],
)
def test_other_shapes_are_refused(ours, size, classes, tmp_path):
    with pytest.raises(UserError, match=r"maps .* were said"):
        load_network(save_onnx(tmp_path), ours, size, classes)


@pytest.mark.parametrize("kind", ["keras", "saved_model", "onnx"])
def test_rubbish_is_a_users_error(kind, tmp_path):
    (tmp_path / "rubbish.keras").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="rubbish"):
        load_network(tmp_path / "rubbish.keras", Adapter(kind=kind), SIZE, 3)
    with pytest.raises(UserError, match="does not exist"):
        load_network(tmp_path / "absent", Adapter(kind=kind), SIZE, 3)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'nsfw-pipeline\[onnx\]'"):
        load_network(save_onnx(tmp_path), Adapter(kind="onnx", layout="nchw"), SIZE, 3)
