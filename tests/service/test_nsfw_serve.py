"""pipeline.service.serve with a registry, and the command `nsfw serve` as a process of its own."""

import io
import signal
import struct
import threading
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.promotion import promoting
from pipeline.service.current_model import check, golden
from pipeline.service.serve import FixedVersion, ProductionVersion
from tests.support.registered_models import DECISION, artifacts, model_bytes, registered
from tests.support.served import one, promote, ready, served
from tests.support.version_fixtures import client, makes, mlflow_server, params, postgres, project, store, template

__all__ = [
    "client",
    "makes",
    "mlflow_server",
    "model_bytes",
    "one",
    "params",
    "postgres",
    "project",
    "store",
    "template",
]  # fixtures


def _chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


BOMB = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0))
BOMB += _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")  # 57 bytes that ask for 432 MB


def altered(content: bytes, tmp_path: Path, change) -> bytes:
    """The same model with other weights."""
    import keras

    path = tmp_path / "altered.keras"
    path.write_bytes(content)
    model = keras.saving.load_model(path)
    model.set_weights([change(weights) for weights in model.get_weights()])
    model.save(path)
    return path.read_bytes()


def test_production_is_loaded_with_its_decision_and_its_files_are_gone_again(one, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = ProductionVersion(one)
    model = source.load()
    assert (model.name, model.version, model.size, model.threshold) == ("nsfw", "1", 32, 0.4)
    check(model)
    (row,) = model.score(golden(32)[:1])
    assert row.unsafe == row.probabilities[2]
    assert row.decision == ("unsafe" if row.unsafe >= 0.4 else "safe")
    picture = io.BytesIO()
    Image.new("RGB", (40, 40)).save(picture, "PNG")
    assert model.preprocess(picture.getvalue()).pixels.shape == (1, 32, 32, 3)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("nsfw-serve-")]


def test_the_stamp_changes_with_what_is_in_production_alone(one, client, project, model_bytes, tmp_path):
    source = ProductionVersion(one)
    before = source.stamp()
    registered(altered(model_bytes, tmp_path, lambda weights: weights * 0.5), project, DECISION.to_document())
    assert source.stamp() == before
    promote(one)
    assert source.stamp() != before
    between = source.stamp()
    client.set_registered_model_alias("nsfw", "production", "1")  # not by `nsfw promote`
    assert source.stamp() not in {before, between}


def test_one_version_for_good(one):
    source = FixedVersion(one, "models:/nsfw/1")
    assert source.stamp() == source.stamp()
    assert source.load().version == "1"
    with pytest.raises(UserError, match="no version 7"):
        FixedVersion(one, "7").load()


def picture(brightness: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), brightness, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_a_service_answers_as_its_classifier_survives_its_workers_and_stops_in_good_order(one, tmp_path):
    model = ProductionVersion(one).load()
    with served(tmp_path) as service:
        ready(service)
        answers = service.post(picture(0), b"rubbish", picture(200)).json()["pictures"]
        for brightness, answer in ((0, answers[0]), (200, answers[2])):
            (row,) = model.score(np.full((1, 32, 32, 3), brightness, np.uint8))
            assert list(answer["probabilities"].values()) == pytest.approx(row.probabilities, abs=1e-6)
            assert (answer["unsafe"], answer["decision"]) == (pytest.approx(row.unsafe, abs=1e-6), row.decision)
            assert answer["threshold"] == 0.4
        assert answers[1]["error"]["code"] == "not_a_picture"
        bomb = service.post(BOMB)
        assert (bomb.status_code, bomb.json()["pictures"][0]["error"]["code"]) == (422, "too_many_pixels")
        workers = [
            child for child in psutil.Process(service.process.pid).children() if "spawn_main" in str(child.cmdline())
        ]
        for worker in workers:
            worker.kill()
        before = [200, 422, service.post(picture(9)).status_code, service.post(picture(9)).status_code]
        assert before[2:] == [200, 200]
        children = psutil.Process(service.process.pid).children(recursive=True)
        with ThreadPoolExecutor(6) as pool:
            under_load = threading.Event()

            def ask(_) -> list[int]:
                seen = []
                for _ in range(500):
                    try:
                        seen.append(service.post(picture(7)).status_code)
                        if seen.count(200) > 5:
                            under_load.set()
                    except httpx.TransportError:  # the port or the connection is closed
                        return seen
                return seen

            futures = [pool.submit(ask, number) for number in range(6)]
            assert under_load.wait(60)  # a busy machine needs longer
            service.process.send_signal(signal.SIGTERM)
            seen = [status for future in futures for status in future.result()]
        assert service.seconds_to_exit() < 1.0
        assert service.process.returncode == 0
        assert set(seen) <= {200, 503}
        assert seen.count(200) > 5
        # Every request that the service has logged was answered.
        taken = [line["status"] for line in service.lines("request") if line["path"] == "/v1/classify"]
        assert Counter(taken) == Counter(before + seen)
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == []
        assert service.lines("stopped")
        assert b"Traceback" not in service.errors.read_bytes()


@pytest.mark.slow
def test_promotions_under_load_lose_nothing_and_what_is_no_model_is_refused(
    one, client, project, model_bytes, tmp_path
):
    other = altered(model_bytes, tmp_path, lambda weights: weights * 0.5)
    broken = altered(model_bytes, tmp_path, lambda weights: weights * np.nan)
    with served(tmp_path) as service, ThreadPoolExecutor(2) as pool:
        ready(service)
        end = [False]

        def ask(_) -> list[httpx.Response]:
            seen = []
            while not end[0]:
                seen.append(service.post(picture(7)))
            return seen

        futures = [pool.submit(ask, number) for number in range(2)]
        try:
            registered(other, project, DECISION.to_document())
            assert promote(one) == 2
            assert service.wait_for("model serves", 2)["version"] == "2"
            registered(broken, project, DECISION.to_document())
            assert promote(one) == 3
            assert "finite" in service.wait_for("model refused")["problem"]
            (artifacts(client, 2) / "model.keras").write_bytes(b"rotten")
            promoting.rollback(one, "2", reason="3 does not load")
            assert "its model file is" in service.wait_for("model refused", 2)["problem"]
            promoting.rollback(one, "1", reason="neither does 2")
            assert service.wait_for("model serves", 3)["version"] == "1"
        finally:
            end[0] = True
        answers = [answer for future in futures for answer in future.result()]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["model"]["version"] for answer in answers} == {"1", "2"}
        numbers = {(a.json()["model"]["version"], a.json()["pictures"][0]["unsafe"]) for a in answers}
        assert len(numbers) == 2  # each version gave the same score each time
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(30) == 0


@pytest.mark.slow
def test_nothing_in_production_is_one_clear_line(client, params, project, tmp_path):
    with served(tmp_path) as service:
        assert service.process.wait(120) == 1
        last = service.errors.read_text(encoding="utf-8").splitlines()[-1]
        assert last.startswith("error: sqlite:///mlflow.db has no model nsfw.")
