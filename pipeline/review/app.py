"""The review pages: who are you, the queues, a queue, thumbnails."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import jinja2
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from pipeline.pages import templating
from pipeline.pages.assets_route import Assets
from pipeline.pages.hosts import AllowedHosts
from pipeline.pages.serving import application as served
from pipeline.pages.serving import read_body
from pipeline.pages.sessions import Session
from pipeline.review import acts, api, progress, report_pages
from pipeline.review.entrance import Entrance
from pipeline.review.workplace import Workplace

_HERE = Path(__file__).parent
_FORM_BYTES = 4096
_SCRIPTS = ("pictures.js", "outbox.js", "grid.js", "review.js")


def application(work: Workplace, entrance: Entrance, hosts: AllowedHosts) -> FastAPI:
    """Return the application; `app.state.work` is its workplace."""
    assets, pages = Assets.of(_HERE / "assets"), templating.environment(_HERE / "templates")
    app = served("review", hosts, assets)
    app.state.work = work
    views = Views(work, entrance, assets, pages)
    for path, method, view in (
        ("/", "GET", views.index),
        ("/enter", "POST", views.enter),
        ("/leave", "POST", views.leave),
        ("/queue/{name:path}", "GET", views.queue),
        ("/thumbnails/{sha256}", "GET", views.thumbnail),
        ("/status.json", "GET", views.status),
    ):
        app.add_api_route(path, view, methods=[method], include_in_schema=False)
    api.add_to(app, work, entrance, pages)
    report_pages.add_to(app, work.params, entrance, views.page)
    return app


class Views:
    """The pages."""

    def __init__(self, work: Workplace, entrance: Entrance, assets: Assets, pages: jinja2.Environment) -> None:
        self._work, self._entrance, self._assets, self._pages = work, entrance, assets, pages

    async def index(self, request: Request) -> Response:
        """Return the queues; or the question who somebody is."""
        session = self._entrance.session(request)
        if not session.name:
            return self._ask(session)
        values = await run_in_threadpool(self._progress)
        return self.page("index.html", session, **values)

    async def enter(self, request: Request) -> Response:
        """Log in."""
        entered = await self._entrance.enter(request, await _form(request))
        return entered or self._ask(self._entrance.session(request), "Nobody has this name or token.", 401)

    async def leave(self, request: Request) -> Response:
        """Log out."""
        return self._entrance.leave(request, await _form(request))

    async def queue(self, request: Request, name: str) -> Response:
        """Return the page of a queue; its pictures are claimed by its script."""
        session = self._entrance.session(request)
        if not session.name:
            return RedirectResponse("/", 303)
        values = await run_in_threadpool(self._queue, name)
        return self.page("queue.html", session, scripts=_SCRIPTS, **values)

    async def thumbnail(self, request: Request, sha256: str) -> Response:
        """Return a picture: only to someone who decides, from this page alone, and into no cache."""
        if not self._entrance.session(request).name:
            raise HTTPException(401, "Nobody is logged in.")
        try:
            data = await run_in_threadpool(self._work.thumbnail, sha256)
        except PermissionError:
            raise HTTPException(410, "It is escalated, and shown to nobody.") from None
        if data is None:
            raise HTTPException(404, "There is no such picture, or it no longer decodes.")
        return Response(data, media_type="image/jpeg")

    async def status(self, request: Request) -> dict[str, Any]:
        """Return what `nsfw review --status --json` does."""
        if not self._entrance.session(request).name:
            raise HTTPException(401, "Nobody is logged in.")
        return await run_in_threadpool(
            lambda: progress.document(self._work.store, self._work.rules, self._work.queues())
        )

    def _progress(self) -> dict[str, Any]:
        self._work.reload()
        by_picture = acts.all_opinions(self._work.store)
        queues, states = self._work.queues(by_picture), progress.states(by_picture, self._work.rules)
        rows = [
            {
                "title": queue.title,
                "about": queue.about,
                "address": queue.link or f"/queue/{quote(queue.name, safe='')}",
                "left": progress.left(queue, states),
                "count": queue.count,
                "finds": progress.finds(by_picture, queue.name),
            }
            for queue in queues.values()
        ]
        return {"rows": rows, "status": progress.document(self._work.store, self._work.rules, queues)}

    def _queue(self, name: str) -> dict[str, Any]:
        by_picture = acts.all_opinions(self._work.store)
        queue = self._work.queues(by_picture).get(name)
        if queue is None or queue.link:
            raise HTTPException(404, "There is no such queue.")
        review = self._work.params.review
        return {
            "queue": queue,
            "left": progress.left(queue, progress.states(by_picture, self._work.rules)),
            "finds": progress.finds(by_picture, name),
            "labels": self._work.library.names,
            "page_size": review.page,
            "pause_minutes": review.pause_minutes,
            "blur": review.blur,
            "grey": review.grey,
        }

    def _ask(self, session: Session, problem: str = "", code: int = 200) -> Response:
        names = self._entrance.names if self._entrance.tokens is None else None
        return self.page("enter.html", session, code, names=names, problem=problem)

    def page(
        self, template: str, session: Session, code: int = 200, *, scripts: tuple[str, ...] = (), **values: Any
    ) -> Response:
        """Return a page of a template; `scripts` are names of assets."""
        page = self._assets.page(styles=("review.css",), scripts=scripts)
        csrf = self._entrance.sessions.csrf_token(session)
        html = self._pages.get_template(template).render(page=page, csrf=csrf, reviewer=session.name, **values)
        response = HTMLResponse(html, code)
        self._entrance.sessions.write(response, session)
        return response


async def _form(request: Request) -> Mapping[str, str]:
    body = await read_body(request, _FORM_BYTES)
    return dict(parse_qsl(body.decode("utf-8", errors="replace"), max_num_fields=10))
