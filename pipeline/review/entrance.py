"""Who a browser is on the review page: a name that is picked on loopback, or a token's owner where others can come."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from pipeline.pages.sessions import Session, Sessions
from pipeline.review import tokens

_WRONG_TOKEN_SECONDS = 0.5


@dataclass(frozen=True)
class Entrance:
    """The people who may decide: `names` to pick from, or `tokens` (name to token) to log in with."""

    sessions: Sessions
    names: Sequence[str]
    tokens: Mapping[str, str] | None = None

    @property
    def people(self) -> Sequence[str]:
        """Everyone who may decide now; a session of someone who no longer may is none."""
        return self.names if self.tokens is None else list(self.tokens)

    def session(self, request: Request) -> Session:
        """Return the request's session; one without a name where nobody has named one yet."""
        session = self.sessions.of(request) or Session.new()
        if session.name and session.name not in self.people:
            session = Session.new()
        if not session.name and self.tokens is None and len(self.names) == 1:
            return Session(session.identity, self.names[0])
        return session

    def reviewer(self, request: Request) -> Session:
        """Return the session of a request to the API, whose token is checked.

        Raises:
            HTTPException: 401, nobody is named; 403, the token is not this session's.

        """
        session = self.session(request)
        if not session.name:
            raise HTTPException(401, "Nobody is logged in.")
        self.sessions.check(request, session)
        return session

    async def enter(self, request: Request, fields: Mapping[str, str]) -> Response | None:
        """Return the answer to a log-in: the way to the first page with a new session; None if it fails.

        Raises:
            HTTPException: 403, the form is another session's.

        """
        self.sessions.check(request, self.session(request), fields.get("csrf_token", ""))
        name = fields.get("name") if self.tokens is None else tokens.reviewer_of(fields.get("token", ""), self.tokens)
        if name is None or name not in self.people:
            await asyncio.sleep(_WRONG_TOKEN_SECONDS)
            return None
        response = RedirectResponse("/", 303)
        self.sessions.write(response, Session.new(name))
        return response

    def leave(self, request: Request, fields: Mapping[str, str]) -> Response:
        """Return the answer to a log-out.

        Raises:
            HTTPException: 403, the form is another session's.

        """
        self.sessions.check(request, self.session(request), fields.get("csrf_token", ""))
        response = RedirectResponse("/", 303)
        self.sessions.end(response)
        return response
