"""`nsfw ui`: what it prints, serves and opens."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline.tracking import server, ui, ui_pages
from tests.support.version_fixtures import client, makes, mlflow_server, params, postgres, project, store, template

__all__ = ["client", "makes", "mlflow_server", "params", "postgres", "project", "store", "template"]  # fixtures


class ExecError(Exception):
    """Raised instead of becoming MLflow's server."""


@pytest.fixture
def served(monkeypatch) -> list[str]:
    """The command that would be executed."""
    command: list[str] = []

    def execv(_, arguments):
        command.extend(arguments)
        raise ExecError

    monkeypatch.setattr(ui.os, "execv", execv)
    return command


def test_it_leads_to_the_runs_and_describes_what_is_there(makes, client, served, capsys, project):
    makes.version()
    experiment = client.get_experiment_by_name("nsfw").experiment_id
    with pytest.raises(ExecError):
        ui.serve(5001)
    page = f"http://127.0.0.1:5001/#/experiments/{experiment}/runs?viewStateShareKey=nsfw&workflowType=machine_learning"
    assert page in capsys.readouterr().out
    assert served[served.index("--backend-store-uri") + 1] == f"sqlite:///{project}/mlflow.db"
    tags = client.get_experiment(experiment).tags
    columns = json.loads(tags["mlflow.sharedViewState.nsfw"])["selectedColumns"]
    assert {"metrics.`best_val_macro_recall`", "metrics.`best_val_unsafe_recall`"} <= set(columns)
    assert "finetune" in tags["mlflow.note.content"]
    assert "production" in client.get_registered_model("nsfw").description


def test_it_starts_no_workers_for_what_nobody_asks_here(makes, served, monkeypatch):
    makes.version()
    monkeypatch.delenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", raising=False)
    with pytest.raises(ExecError):
        ui.serve(5001)
    assert os.environ.pop("MLFLOW_SERVER_ENABLE_JOB_EXECUTION") == "false"


def test_what_people_wrote_stays(makes, client):
    makes.version()
    experiment = client.get_experiment_by_name("nsfw").experiment_id
    client.set_experiment_tag(experiment, "mlflow.note.content", "ours")
    client.update_registered_model("nsfw", "ours too")
    ui_pages.complete(client, experiment, "nsfw")
    assert client.get_experiment(experiment).tags["mlflow.note.content"] == "ours"
    assert client.get_registered_model("nsfw").description == "ours too"


def test_a_server_that_does_not_answer_has_an_address_all_the_same(params, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9/")
    ui.serve(5001)
    printed = capsys.readouterr().out
    assert "open http://127.0.0.1:9/#/experiments?workflowType=machine_learning" in printed
    assert "secret" not in printed


@pytest.mark.parametrize(("display", "tty", "opens"), [(":0", True, True), (":0", False, False), ("", True, False)])
def test_a_browser_is_opened_where_there_is_a_screen_and_a_person(makes, served, monkeypatch, display, tty, opens):
    started = []
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(ui.sys.stdout, "isatty", lambda: tty)
    monkeypatch.setattr(ui.subprocess, "Popen", lambda command, **_: started.append(command))
    with pytest.raises(ExecError):
        ui.serve(5001)
    assert bool(started) == opens


def test_the_browser_waits_for_the_server(monkeypatch):
    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    opened = []
    monkeypatch.setattr(ui.webbrowser, "open", lambda page: opened.append(page) or True)
    assert not ui.open_when_up("page", "http://127.0.0.1:9", seconds=0.2)
    listening = HTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=listening.handle_request, daemon=True).start()
    assert ui.open_when_up("page", f"http://127.0.0.1:{listening.server_port}")
    assert opened == ["page"]
    listening.server_close()


def test_a_new_experiment_has_it_all_at_once(client):
    with server.session() as ours:
        experiment = server.experiment_id(ours)
    assert ui_pages.EXPERIMENT_TAGS.items() <= client.get_experiment(experiment).tags.items()
