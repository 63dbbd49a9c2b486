"""The FastAPI application: its routes and their OpenAPI descriptions."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from pipeline.service import metrics, openapi_schemas
from pipeline.service.answering import Exchange, Service
from pipeline.service.bodies import DisconnectedError
from pipeline.service.middleware import CLASSIFY, RequestMiddleware
from pipeline.service.refusals import Refused, answer

_TITLE = "nsfw: picture moderation"
_CODES = {404: "no_such_path", 405: "method"}


def application(service: Service) -> RequestMiddleware:
    """Return the ASGI application. It has no documentation pages, as those would load scripts from other servers."""
    app = FastAPI(title=_TITLE, version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_classify(app, service)
    _add_states(app, service)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Refused, _refusal)
    app.add_exception_handler(Exception, _defect)
    return RequestMiddleware(app, service)


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
        except DisconnectedError:
            exchange.code = "gone"
            return Response(status_code=499)  # the client is gone
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


async def _http_error(_: Request, error: Any) -> Response:
    document = {"error": {"code": _CODES.get(error.status_code, "http"), "detail": str(error.detail)}}
    return answer(document, error.status_code, error.headers)


async def _refusal(_: Request, error: Any) -> Response:
    response: Response = error.response()
    return response


async def _defect(_: Request, __: Exception) -> Response:
    return Refused(500, "defect", "the service failed; its log tells why").response()
