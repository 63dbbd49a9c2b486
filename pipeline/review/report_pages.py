"""Public reports on the review page: a queue with a page of its own, to accept, reject, escalate or merge them.

What is decided here is done at once, as by `nsfw reports`: an accepted report is a row of data/reports.csv, and data/
is versioned anew.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from pipeline.core.errors import UserError
from pipeline.pages.serving import read_body
from pipeline.params.root import Params
from pipeline.reports import accepting, inbox, listing, pictures, triage
from pipeline.review.entrance import Entrance
from pipeline.review.queues import Queue

ADDRESS = "/reports"
SIDE = 256  # px of a thumbnail
_SHOWN = 24  # reports at a time
_FORM_BYTES = 8192

Page = Callable[..., Response]  # of a template, a session and values


def queue() -> Queue:
    """Return the queue of the reports that wait now."""
    waiting = 0
    if inbox.DATABASE.exists():
        with inbox.connect() as database:
            waiting = len(inbox.reports(database, inbox.OPEN))
    about = "What people report on the demo page: each that is accepted becomes a permanent test."
    return Queue("reports", "Public reports", about, link=ADDRESS, size=waiting)


def add_to(app: FastAPI, params: Params, entrance: Entrance, page: Page) -> None:
    """Add the page's addresses."""

    @app.get(ADDRESS, include_in_schema=False)
    async def listed(request: Request) -> Response:
        session = entrance.session(request)
        if not session.name:
            return RedirectResponse("/", 303)
        return page("reports.html", session, scripts=("pictures.js",), **await run_in_threadpool(_values, params))

    @app.get(ADDRESS + "/pictures/{identity}", include_in_schema=False)
    async def picture(request: Request, identity: str) -> Response:
        if not entrance.session(request).name:
            raise HTTPException(401, "Nobody is logged in.")
        content = await run_in_threadpool(_thumbnail, params, identity)
        if content is None:
            raise HTTPException(404, "There is no such picture.")
        return Response(content, media_type="image/jpeg")

    @app.post(ADDRESS, include_in_schema=False)
    async def decide(request: Request) -> Response:
        body = await read_body(request, _FORM_BYTES)
        fields = dict(parse_qsl(body.decode("utf-8", errors="replace"), max_num_fields=10))
        session = entrance.session(request)
        if not session.name:
            raise HTTPException(401, "Nobody is logged in.")
        entrance.sessions.check(request, session, fields.get("csrf_token", ""))
        done, problem = await run_in_threadpool(_decide, params, fields, session.name)
        values = await run_in_threadpool(_values, params)
        values |= {"done": done, "problem": problem}
        return page("reports.html", session, 409 if problem else 200, scripts=("pictures.js",), **values)


def _values(params: Params) -> dict[str, Any]:
    document = listing.collect(params, every=False)
    near = {one: [other for other in group if other != one] for group in document["same_picture"] for one in group}
    rows = document["reports"]
    shown = [row | {"near": near.get(row["id"], [])} for row in rows[:_SHOWN]]
    more = {"waiting": len(rows), "labels": params.labels.names, "done": "", "problem": ""}
    return more | {"rows": shown, "blur": params.review.blur, "grey": params.review.grey}


def _thumbnail(params: Params, identity: str) -> bytes | None:
    if not inbox.DATABASE.exists():
        return None
    try:
        with inbox.connect() as database:
            report = inbox.find(database, identity)
        shown = report.picture and report.state != inbox.ESCALATED  # what is escalated is shown to nobody here
        content = (inbox.PICTURES / report.picture).read_bytes() if shown else None
    except (UserError, OSError):
        return None
    return None if content is None else pictures.thumbnail(params, content, SIDE)


def _decide(params: Params, fields: Mapping[str, str], reviewer: str) -> tuple[str, str]:
    """Do what a form says; return what was done, and what could not be done: one of both is ""."""
    identity, act, note = fields.get("id", ""), fields.get("act", ""), fields.get("note", "")[:500]
    try:
        if act == "accept":
            naming = accepting.Naming(fields.get("slice", ""), fields.get("ticket", ""), fields.get("label", ""))
            (case,) = accepting.accept(params, [identity], naming, reviewer)
            commit = f"git add data.dvc && git commit -m 'Accept reports: {case.ticket}'"
            return f"{identity} is a case now, ticket {case.ticket}. Next: {commit}; dvc repro", ""
        if act == "reject":
            triage.reject([identity], note, reviewer)
        elif act == "escalate":
            triage.escalate([identity], note, reviewer)
        elif act == "merge":
            triage.merge(params, [identity, *fields.get("near", "").split()])
        else:
            return "", "no such act"
    except UserError as error:
        return "", str(error)
    return f"{identity}: {act} is done.", ""
