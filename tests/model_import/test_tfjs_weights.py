import json
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.model_import import tfjs_weights

pytestmark = pytest.mark.untraced


@pytest.fixture(scope="module")
def original():
    """MobileNetV2 0.35 with random weights, BatchNorm's statistics too."""
    model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.35)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return model


def write(folder: Path, model, shards: int = 2) -> tuple[Path, dict[str, float]]:
    """Write a model as tensorflowjs does, every other weight quantized; return model.json and each weight's error."""
    groups, errors = [], {}
    weights = [(layer.name, weight) for layer in model.layers for weight in layer.weights]
    for shard in range(shards):
        entries, data = [], b""
        for i, (layer, weight) in enumerate(weights[shard::shards]):
            depthwise = layer.endswith("depthwise") and weight.name == "kernel"
            entry = {"name": f"{layer}/{'depthwise_kernel' if depthwise else weight.name}", "dtype": "float32"}
            values, bits = weight.numpy(), (0, 8, 0, 16)[i % 4]
            entry["shape"] = list(values.shape)
            if bits:
                low, scale = float(values.min()), float(np.ptp(values)) / (2**bits - 1) or 1.0
                entry["quantization"] = {"dtype": f"uint{bits}", "min": low, "scale": scale}
                values = np.round((values - low) / scale).astype(f"<u{bits // 8}")
            errors[f"{layer}/{weight.name}"] = entry["quantization"]["scale"] / 2 if bits else 0.0
            entries.append(entry)
            data += values.tobytes()
        name = f"group{shard}-shard1of1.bin"
        (folder / name).write_bytes(data)
        groups.append({"paths": [name], "weights": entries})
    path = folder / "model.json"
    path.write_text(json.dumps({"format": "layers-model", "weightsManifest": groups}))
    return path, errors


def change(path: Path, edit) -> None:
    document = json.loads(path.read_text())
    edit(document["weightsManifest"])
    path.write_text(json.dumps(document))


def test_a_model_comes_through_within_its_quantization(original, tmp_path):
    path, errors = write(tmp_path, original)
    backbone = tfjs_weights.mobilenet_v2_backbone(tfjs_weights.read_weights(path), 0.35, 32)
    assert sum(error == 0 for error in errors.values()) > 50
    for layer, wanted in zip(backbone.layers[1:], original.layers[1:], strict=True):
        assert layer.name == wanted.name
        for ours, theirs in zip(layer.weights, wanted.weights, strict=True):
            allowed = errors[f"{layer.name}/{ours.name}"]
            assert np.abs(ours.numpy() - theirs.numpy()).max() <= allowed * 1.001 + 1e-6, layer.name


def test_a_group_may_be_cut_into_shards_anywhere(original, tmp_path):
    path, _ = write(tmp_path, original, shards=1)
    whole = tfjs_weights.read_weights(path)
    data = (tmp_path / "group0-shard1of1.bin").read_bytes()
    for name, part in {"a.bin": data[:1001], "b.bin": data[1001:]}.items():
        (tmp_path / name).write_bytes(part)
    change(path, lambda manifest: manifest[0].update(paths=["a.bin", "b.bin"]))
    cut = tfjs_weights.read_weights(path)
    assert all(np.array_equal(cut[name], whole[name]) for name in whole)


def test_another_alpha_is_told(original, tmp_path):
    weights = tfjs_weights.read_weights(write(tmp_path, original)[0])
    with pytest.raises(UserError, match=r"no MobileNetV2 of alpha 0\.5: .*Try another --alpha"):
        tfjs_weights.mobilenet_v2_backbone(weights, 0.5, 32)


def test_a_missing_weight_is_named(original, tmp_path):
    weights = tfjs_weights.read_weights(write(tmp_path, original)[0])
    del weights["block_3_depthwise/depthwise_kernel"]
    with pytest.raises(UserError, match=r"block_3_depthwise/kernel is .* nothing in the file"):
        tfjs_weights.mobilenet_v2_backbone(weights, 0.35, 32)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/b.bin", "..", ".hidden", "", "a\x00b", "a\n", "x" * 256]
)
def test_a_shard_outside_the_folder_is_refused(original, tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(4_000_000))
    path, _ = write(folder, original, shards=1)
    change(path, lambda manifest: manifest[0].update(paths=[name]))
    with pytest.raises(UserError, match="shard name"):
        tfjs_weights.read_weights(path)


def test_a_missing_shard_is_named(original, tmp_path):
    path, _ = write(tmp_path, original)
    (tmp_path / "group1-shard1of1.bin").unlink()
    with pytest.raises(UserError, match=r"group1-shard1of1\.bin does not exist"):
        tfjs_weights.read_weights(path)


def first_weight(**values):
    return lambda path: change(path, lambda manifest: manifest[0]["weights"][0].update(values))


BROKEN = {
    "cut shard": lambda path: (path.parent / "group0-shard1of1.bin").write_bytes(bytes(1000)),
    "no json": lambda path: path.write_text("<html>"),
    "no manifest": lambda path: path.write_text("{}"),
    "a list": lambda path: path.write_text("[]"),
    "not utf-8": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a number for a name": lambda path: change(path, lambda manifest: manifest[0].update(paths=[5])),
    "no shape": lambda path: change(path, lambda manifest: manifest[0]["weights"][0].pop("shape")),
    "unknown type": first_weight(dtype="complex64"),
    "negative shape": first_weight(shape=[-5]),
    "shape of texts": first_weight(shape=["x"]),
    "quantization is a list": first_weight(quantization=[]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_manifest_is_a_users_error(original, tmp_path, how):
    path, _ = write(tmp_path, original)
    BROKEN[how](path)
    with pytest.raises(UserError, match=r"model\.json"):
        tfjs_weights.read_weights(path)
