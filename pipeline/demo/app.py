"""The demo's application: the page, and its two requests: classify a picture, report that an answer is wrong."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data.escalations import ESCALATED
from pipeline.demo.recent import Answered, RecentAnswers
from pipeline.images.sandbox import Failure
from pipeline.pages import sessions, templating
from pipeline.pages.assets_route import Assets
from pipeline.pages.hosts import AllowedHosts
from pipeline.pages.protection import Protection
from pipeline.params.root import Params
from pipeline.reports import pictures, receiving
from pipeline.reports.receiving import ModelAnswer, Submission
from pipeline.service import bodies
from pipeline.service.answering import Exchange, Service
from pipeline.service.bodies import DisconnectedError
from pipeline.service.decoding import RequestState
from pipeline.service.middleware import RequestMiddleware
from pipeline.service.refusals import Refused, answer

CLASSIFY, REPORT, MODEL = "/classify", "/report", "/model"
_FOLDER = Path(__file__).parent
_STATUS = {"new": 201, "repeated": 200, "refused": 429, "full": 503}


class Posted(BaseModel):
    """The body of a report. `picture`: the file's bytes in base64, only with consent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    answer: str = Field(max_length=64)
    label: str = Field(max_length=200)
    comment: str = Field("", max_length=20_000)
    picture: str | None = None


class Demo:
    """What the routes share. Created and used in one event loop.

    `role` returns whether the model in use is in production.
    """

    def __init__(self, service: Service, params: Params, role: Callable[[], str]) -> None:
        self.service, self.params, self.role = service, params, role
        self.recent = RecentAnswers()
        self.sessions = sessions.Sessions(sessions.load_key(paths.CACHE / "demo.key"), "nsfw_demo")
        self.assets = Assets.of(_FOLDER / "assets")
        self.pages = templating.environment(_FOLDER / "templates")

    def page(self, request: Request) -> Response:
        """Return the page, with a session for the browser."""
        session = self.sessions.of(request) or sessions.Session.new()
        response = HTMLResponse(
            self.pages.get_template("demo.html").render(
                page=self.assets.page(styles=("demo.css",), scripts=("pictures.js", "demo.js")),
                token=self.sessions.csrf_token(session),
                labels=self.params.labels.names,
                unsafe=self.params.labels.unsafe,
                limits=self.params.reports,
                picture_mb=self.params.serve.picture_mb,
                formats=self.params.catalog.formats,
            )
        )
        self.sessions.write(response, session)
        return response

    def model(self) -> dict[str, Any]:
        """Return whether the model answers, and which it is."""
        model = self.service.follower.model
        if model is None or not self.service.admission.ready:
            return {"ready": False}
        return {"ready": True, "name": model.name, "version": model.version, "role": self.role()}

    def session(self, request: Request) -> sessions.Session:
        """Return the session of a request that its own page sent.

        Raises:
            HTTPException: 403, it has none, or not its token.

        """
        session = self.sessions.of(request)
        if session is None:
            raise HTTPException(403, "The page is out of date: load it anew.")
        self.sessions.check(request, session)
        return session

    async def classify(self, request: Request) -> tuple[int, dict[str, Any]]:
        """Return status and document of one posted picture: the model's answer, and the `answer` id to report it by."""
        exchange: Exchange = request.scope["state"]["exchange"]
        session = self.session(request)
        with self.service.admission.counting_body() as counted:
            posted = await self.service.posted(request.receive, counted, exchange)
            if len(posted) != 1:
                raise Refused(400, "one_picture", "choose one picture at a time")
            status, document = await self.service.answer(posted, exchange)
            (result,) = document["pictures"]
            if result["error"]:
                raise Refused(status, result["error"]["code"], self.detail(result["error"]))
            data, sha256 = posted[0].data, posted[0].sha256
            hashes = await self.service.decoders.frames(pictures.hashing(self.params), data, sha256, RequestState())
        about = document["model"]
        given = ModelAnswer(
            model=about["name"],
            version=about["version"],
            scores=result["probabilities"],
            decision=result["decision"] or "",
            sha256=sha256,
            hashes=b"" if isinstance(hashes, Failure) else hashes,
        )
        identity = self.recent.add(Answered(session.identity, given))
        return status, {**result, "model": about | {"role": self.role()}, "answer": identity}

    def detail(self, error: dict[str, str]) -> str:
        """Return what the page says of a picture without answer; of one that a screen matched, whom to call."""
        if error["code"] != ESCALATED or self.service.door is None:
            return error["detail"]
        return f"{error['detail']}. Call {self.service.door.screens.contact}. Do not open, copy or send this file."

    async def report(self, request: Request) -> tuple[int, dict[str, Any]]:
        """Store a report; return status and document."""
        session = self.session(request)
        with self.service.admission.counting_body() as counted:
            body = await bodies.read(request.receive, counted, self.service.limits.advanced.body_seconds)
            try:
                posted = Posted.model_validate_json(bytes(body))
                picture = None if posted.picture is None else base64.b64decode(posted.picture, validate=True)
            except (ValidationError, ValueError):
                raise Refused(400, "malformed", "this is not a report of the page") from None
            answered = self.recent.get(posted.answer, session.identity)
            if answered is None:
                raise Refused(410, "too_old", "the answer is too old to be reported: choose the picture again")
            submission = Submission(answered.answer, posted.label, posted.comment, picture)
            address = request.client.host if request.client else ""
            with self.service.admission.enter(1):
                receipt = await asyncio.to_thread(receiving.receive, submission, address, self.params)
        return _STATUS[receipt.status], {"status": receipt.status, "report": receipt.report}


def application(service: Service, params: Params, hosts: AllowedHosts, role: Callable[[], str]) -> Protection:
    """Return the ASGI application: host and origin are checked first, then admission, session and token."""
    demo = Demo(service, params, role)
    app = FastAPI(title="nsfw demo", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    demo.assets.add_to(app)
    _add_routes(app, demo)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(DisconnectedError, _gone)
    app.add_exception_handler(Exception, _defect)
    return Protection(RequestMiddleware(app, service, CLASSIFY, {"/", CLASSIFY, REPORT, MODEL}), hosts)


def _add_routes(app: FastAPI, demo: Demo) -> None:
    @app.get("/")
    async def page(request: Request) -> Response:
        return demo.page(request)

    @app.get(MODEL)
    async def model() -> Response:
        return answer(demo.model())

    @app.post(CLASSIFY)
    async def classify(request: Request) -> Response:
        status, document = await demo.classify(request)
        return answer(document, status)

    @app.post(REPORT)
    async def report(request: Request) -> Response:
        status, document = await demo.report(request)
        return answer(document, status)


async def _refused(request: Request, error: Any) -> Response:
    request.scope["state"]["exchange"].refused(error)
    response: Response = error.response()
    return response


async def _http_error(_: Request, error: Any) -> Response:
    return answer({"error": {"code": "http", "detail": str(error.detail)}}, error.status_code, error.headers)


async def _user_error(_: Request, error: Exception) -> Response:
    return answer({"error": {"code": "refused", "detail": str(error)}}, 422)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


async def _defect(_: Request, __: Exception) -> Response:
    return Refused(500, "defect", "the demo failed; its log tells why").response()
