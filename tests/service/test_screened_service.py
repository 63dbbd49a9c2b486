"""What a screen matches is not classified over HTTP: a code of its own, a record, a log line, and no pixel anywhere."""

import hashlib
import logging
from pathlib import Path

import httpx
import pytest

from pipeline.data import escalations
from pipeline.images.limits import Limits
from pipeline.images.preprocessing import Preprocessor
from pipeline.params.root import load_params
from pipeline.service.serve import open_door
from tests.support.http_fakes import Model, Source, metric, picture, serving
from tests.support.screens import configure, copies, detailed, jpeg_of, meta_hash, python_hook

pytestmark = pytest.mark.untraced

EVIL = copies(detailed(1, (1600, 1280)))["again"]
GOOD = jpeg_of(detailed(2))


def post(run, *contents) -> httpx.Response:
    files = [("image", ("secret-name.jpg", content)) for content in contents]
    return httpx.post(f"{run.url}/v1/classify", files=files, timeout=30)


@pytest.fixture
def screened(project, monkeypatch):
    """A service, by a list that knows a picture's PDQ hash, and white by its sha256."""

    def start(**more):
        lists = {
            "partner": ("pdq", meta_hash(detailed(1, (512, 410)))),
            "own": ("sha256", hashlib.sha256(picture(255)).hexdigest()),
        }
        configure(lists, **more)
        model = Model(size=96, preprocess=Preprocessor(Limits(), 96).frames_from_bytes)
        return serving(monkeypatch, Source(model), open_door(load_params(), "serve"), workers=1)

    return start


def test_a_match_is_not_classified_and_its_neighbours_are(screened, caplog):
    with screened() as run, caplog.at_level(logging.WARNING, logger="nsfw.screens"):
        answer = post(run, GOOD, EVIL, picture(255))
        assert answer.status_code == 200
        good, evil, exact = answer.json()["pictures"]
        assert good["error"] is None
        for result in (evil, exact):
            assert result["error"]["code"] == "escalated"
            assert (result["probabilities"], result["decision"]) == (None, None)
            assert "partner" not in result["error"]["detail"]
        assert metric(run, 'nsfw_pictures_total{outcome="escalated"}') == 2
        alone = post(run, EVIL)
        assert (alone.status_code, alone.json()["pictures"][0]["error"]["code"]) == (422, "escalated")
    records = escalations.load(Path("escalations.csv"))
    assert list(records["list"]) == ["partner", "own", "partner"] or set(records["list"]) == {"partner", "own"}
    assert set(records["door"]) == {"serve"}
    assert all(origin.startswith("request ") for origin in records["origin"])
    logged = [record.record["sha256"] for record in caplog.records if record.name == "nsfw.screens"]
    assert hashlib.sha256(EVIL).hexdigest() in logged
    assert not any("secret-name" in str(vars(record)) for record in caplog.records)
    parts = EVIL[len(EVIL) // 2 :][:40]
    assert [path for path in Path().rglob("*") if path.is_file() and parts in path.read_bytes()] == []


def test_a_hook_without_answer_makes_a_503_and_nothing_is_classified(screened):
    with screened(hooks=[python_hook("raise SystemExit(2)")]) as run:
        answer = post(run, GOOD)
        assert answer.status_code == 503
        assert answer.json()["error"] == {"code": "unavailable", "detail": "it could not be screened"}


def test_screening_changes_no_answer(screened, monkeypatch):
    with screened() as run:
        screened_answer = post(run, GOOD).json()["pictures"]
    model = Model(size=96, preprocess=Preprocessor(Limits(), 96).frames_from_bytes)
    with serving(monkeypatch, Source(model), workers=1) as run:
        assert post(run, GOOD).json()["pictures"] == screened_answer


def test_a_record_that_cannot_be_written_is_in_the_log_and_the_picture_is_refused(screened, caplog):
    Path("escalations.csv").mkdir()
    with screened() as run, caplog.at_level(logging.WARNING, logger="nsfw.screens"):
        assert post(run, picture(255)).json()["pictures"][0]["error"]["code"] == "escalated"
    assert any("cannot be written" in record.message for record in caplog.records)
    assert any(hasattr(record, "record") for record in caplog.records)
