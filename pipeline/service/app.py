"""The application: its paths, and what /openapi.json tells of them."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from pipeline.service import metrics, openapi_schemas
from pipeline.service.answering import Exchange, Service
from pipeline.service.bodies import GoneError
from pipeline.service.middleware import CLASSIFY, Gate
from pipeline.service.refusals import Refused, answer

_TITLE = "nsfw: picture moderation"
_CODES = {404: "no_such_path", 405: "method"}


def application(service: Service) -> Gate:
    """Return the ASGI application. No page of it loads anything from elsewhere: there are none."""
    app = FastAPI(title=_TITLE, version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_classify(app, service)
    _add_states(app, service)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Exception, _defect)
    return Gate(app, service)


def _add_classify(app: FastAPI, service: Service) -> None:
    @app.post(
        CLASSIFY,
        responses=openapi_schemas.responses(),
        response_model=openapi_schemas.Results,
        openapi_extra={"requestBody": openapi_schemas.request_body(service.limits)},
        summary="Classify one picture or several",
    )
    async def classify(request: Request) -> Response:
        exchange: Exchange = request.scope["state"]["exchange"]
        try:
            status, document = await service.classify(request.receive, exchange)
        except Refused as refused:
            exchange.refused(refused)
            return refused.response()
        except GoneError:
            exchange.code = "gone"
            return Response(status_code=499)  # nobody reads it
        return answer(document, status)


def _add_states(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the process answers", response_model=dict[str, str])
    async def healthz() -> Response:
        return answer({"status": "ok"})

    @app.get(
        "/readyz",
        summary="Whether pictures are classified",
        response_model=dict[str, str],
        responses={
            503: {"model": openapi_schemas.Failed, "description": "the model is not warm yet, or the service stops"}
        },
    )
    async def readyz() -> Response:
        admission, model = service.admission, service.follower.model
        if admission.draining:
            raise Refused(503, "shutting_down", "the service is being stopped", retry_after=5)
        if not admission.ready or model is None:
            raise Refused(503, "not_ready", "the model is being loaded", retry_after=5)
        return answer({"status": "ready", "model": model.name, "version": model.version})

    @app.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics_() -> Response:
        return Response(service.metrics.render(), headers={"content-type": metrics.CONTENT_TYPE})


async def _plain(_: Request, error: Any) -> Response:
    document = {"error": {"code": _CODES.get(error.status_code, "http"), "detail": str(error.detail)}}
    return answer(document, error.status_code, error.headers)


async def _refused(_: Request, error: Any) -> Response:
    response: Response = error.response()
    return response


async def _defect(_: Request, __: Exception) -> Response:
    return Refused(500, "defect", "the service failed; its log tells why").response()
