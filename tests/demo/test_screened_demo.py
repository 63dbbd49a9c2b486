"""The demo page's answer about what a screen matches: no classes, and whom to call."""

from pathlib import Path

from pipeline.data import escalations
from tests.support.demo_server import demo
from tests.support.public_reports import changed_params
from tests.support.screens import CONTACT, configure, copies, detailed, meta_hash


def test_what_a_list_knows_gets_no_answer_that_could_be_reported(project, monkeypatch):
    configure({"partner": ("pdq", meta_hash(detailed(1)))})
    with demo(monkeypatch, changed_params()) as server:
        answer = server.classify(copies(detailed(1))["cropped"])
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert error["code"] == "escalated"
        assert f"Call {CONTACT}" in error["detail"]
        assert server.classify(copies(detailed(2))["cropped"]).status_code == 200
    (record,) = escalations.load(Path("escalations.csv")).to_dict("records")
    assert (record["list"], record["door"]) == ("partner", "demo")
