"""What the review page's scripts ask for: JSON over POST, each with the session's token."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import jinja2
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from pipeline.pages.serving import read_body
from pipeline.review import acts, progress
from pipeline.review.acts import Act, Desk
from pipeline.review.entrance import Entrance
from pipeline.review.workplace import Workplace

_MOST_BYTES = 2**20
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Pictures = Annotated[list[_Sha256], Field(max_length=5000)]
T = TypeVar("T", bound="Message")


class Message(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OneAct(Message):
    """A decision, or the taking back of one."""

    id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{16,64}$")]
    sha256: _Sha256
    act: Annotated[str, Field(max_length=200)]
    queue: Annotated[str, Field(max_length=500)]
    reason: Annotated[str, Field(max_length=300)] = ""
    undo: bool = False


class Acts(Message):
    """Acts in their order."""

    acts: Annotated[list[OneAct], Field(max_length=1000)]


class Claim(Message):
    """A wish for more pictures, beside those that are shown already."""

    queue: Annotated[str, Field(max_length=500)]
    most: Annotated[int, Field(ge=1, le=500)]
    shown: _Pictures = []


class Names(Message):
    """Pictures."""

    sha256: _Pictures


class Beat(Names):
    """The pictures that a browser still shows; seconds looked and pictures seen since the last beat."""

    seconds: Annotated[float, Field(ge=0, le=3600, strict=False)]
    pictures: Annotated[int, Field(ge=0, le=5000)]


def add_to(app: FastAPI, work: Workplace, entrance: Entrance, pages: jinja2.Environment) -> None:
    """Add the API's addresses."""

    def address(path: str, kind: type[T], answer: Callable[[str, T], Any]) -> None:
        async def handle(request: Request) -> Response:
            session = entrance.reviewer(request)
            message = _parsed(kind, await read_body(request, _MOST_BYTES))
            return JSONResponse(await run_in_threadpool(answer, session.name, message))

        app.add_api_route(path, handle, methods=["POST"], include_in_schema=False)

    address("/api/claim", Claim, lambda name, message: claim(work, pages, name, message))
    address("/api/acts", Acts, lambda name, message: perform(work, name, message))
    address("/api/details", Names, lambda _, message: details(work, pages, message))
    address("/api/heartbeat", Beat, lambda name, message: heartbeat(work, name, message))


def claim(work: Workplace, pages: jinja2.Environment, reviewer: str, message: Claim) -> dict[str, Any]:
    """Return the next pictures as cards."""
    by_picture = acts.all_opinions(work.store)
    queue = work.queues(by_picture).get(message.queue)
    if queue is None:
        raise HTTPException(404, "No such queue: the tables have changed. Go back to the queues.")
    names, held = work.claim(reviewer, queue, message.most, message.shown)
    shown_opinions = {one: by_picture.get(one, []) for one in names} if queue.name == "disagreements" else {}
    html = pages.get_template("cards.html").render(pictures=[work.about(one) for one in names], opinions=shown_opinions)
    return {"html": html, "sha256": names, "held": held}


def perform(work: Workplace, reviewer: str, message: Acts) -> dict[str, Any]:
    """Do the acts; on return they are on disk. Return their outcomes, and how far the last one's queue is."""
    outcomes = work.perform(reviewer, [Act(**one.model_dump()) for one in message.acts])
    by_picture = acts.all_opinions(work.store)
    name = message.acts[-1].queue if message.acts else ""
    queue = work.queues(by_picture).get(name)
    last = progress.finds(by_picture, name)
    return {
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "left": progress.left(queue, progress.states(by_picture, work.rules)) if queue else 0,
        "changed": last.changed,
        "looked_at": last.looked_at,
    }


def details(work: Workplace, pages: jinja2.Environment, message: Names) -> dict[str, Any]:
    """Return the panel of each picture."""
    template = pages.get_template("details.html")
    return {"html": {sha256: template.render(**known) for sha256, known in work.details(message.sha256).items()}}


def heartbeat(work: Workplace, reviewer: str, message: Beat) -> dict[str, Any]:
    """Let the claims of what is shown last on; return those that are still this person's."""
    desk = Desk(work.store, work.rules, reviewer)
    return {"held": desk.renew(message.sha256, message.seconds, message.pictures)}


def _parsed(kind: type[T], body: bytes) -> T:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise HTTPException(422, f"{where}: {problem['msg']}") from None
