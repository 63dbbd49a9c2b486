"""`nsfw demo`: serves the demo page on this machine alone, until Ctrl-C."""

from collections.abc import Callable
from typing import Any

from pipeline.demo import app
from pipeline.demo.source import ProductionElseChallenger
from pipeline.pages.hosts import AllowedHosts
from pipeline.params.root import Params
from pipeline.reports import retention
from pipeline.service import running
from pipeline.service.answering import Service
from pipeline.service.current_model import Source
from pipeline.service.serve import FixedVersion, open_door

HOST = "127.0.0.1"


def serve(params: Params, *, port: int, model: str | None = None) -> None:
    """Serve the page with what is in production (else the challenger), or with the version or folder `model`.

    Reports that are past reports.retain_days are deleted first.

    Raises:
        UserError: there is no model to serve, or the port cannot be used.

    """
    purged = retention.purge(params.reports)
    if purged.reports or purged.pictures:
        print(f"purged {purged.reports} reports and {purged.pictures} pictures that are past reports.retain_days")
    newest = ProductionElseChallenger(params)
    source: Source = newest if model is None else FixedVersion(params, model)
    role: Callable[[], str] = (lambda: newest.role) if model is None else (lambda: "chosen by --model")

    door = open_door(params, "demo")

    def build(service: Service) -> Any:
        return app.application(service, params, AllowedHosts.of(HOST), role)

    running.serve(source, params.serve, host=HOST, port=port, build=build, announce=_announce, door=door)


def _announce(host: str, port: int) -> None:
    print(f"http://{host}:{port}/ shows the demo page once the model is loaded; Ctrl-C ends it", flush=True)
    print("next: nsfw reports list", flush=True)
