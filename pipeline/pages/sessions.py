"""Who a browser is: a signed cookie, and a token that every form carries (CSRF).

    sessions = Sessions(load_key(Path(".cache/review.key")), cookie="nsfw_review")
    session = sessions.of(request)                     # None where there is none, or its signature is wrong
    response = ...; sessions.write(response, Session.new("ada"))
    sessions.check(request, session, token)            # HTTPException 403 if the token is another session's

Both outlive a restart of the server, as the key lies in a file.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException, Request
from fastapi.responses import Response

from pipeline.core.errors import UserError

CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf_token"
_KEY_BYTES = 32
_MOST_CHARACTERS = 2000


@dataclass(frozen=True)
class Session:
    """A browser's session: a random id, and the name of the person, "" where nobody has named one yet."""

    identity: str
    name: str = ""

    @classmethod
    def new(cls, name: str = "") -> "Session":
        """Return a session with an id of its own."""
        return cls(secrets.token_urlsafe(18), name)


@dataclass(frozen=True)
class Sessions:
    """Reads and writes sessions as cookies (SameSite=Strict, HttpOnly), signed by `key`."""

    key: bytes
    cookie: str

    def of(self, request: Request) -> Session | None:
        """Return the request's session; None if it has no cookie, or one that this key did not sign."""
        text = request.cookies.get(self.cookie, "")
        body, _, signature = text.rpartition(".")
        if (
            not body
            or len(text) > _MOST_CHARACTERS
            or not hmac.compare_digest(self._sign(f"session {self.cookie}", body), signature)
        ):
            return None
        try:
            identity, name = json.loads(base64.urlsafe_b64decode(body))
        except (ValueError, TypeError):
            return None
        return Session(str(identity), str(name))

    def write(self, response: Response, session: Session) -> None:
        """Set the cookie."""
        body = base64.urlsafe_b64encode(json.dumps([session.identity, session.name]).encode()).decode()
        value = f"{body}.{self._sign(f'session {self.cookie}', body)}"
        response.set_cookie(self.cookie, value, httponly=True, samesite="strict", path="/")

    def end(self, response: Response) -> None:
        """Delete the cookie."""
        response.delete_cookie(self.cookie, httponly=True, samesite="strict", path="/")

    def csrf_token(self, session: Session) -> str:
        """Return the token that the session's forms and scripts send back."""
        return self._sign("csrf", session.identity)

    def check(self, request: Request, session: Session, token: str | None = None) -> None:
        """Raise HTTPException (403) unless `token`, or the header `x-csrf-token`, is the session's."""
        sent = token if token is not None else request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(self.csrf_token(session).encode(), sent.encode()):
            raise HTTPException(403, "The page is out of date, or the request is not its own: load it anew.")

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self.key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def load_key(path: Path) -> bytes:
    """Return the secret key in `path`, which is made, readable by its owner alone, if there is none.

    Raises:
        UserError: the file is no key.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise UserError(f"{path} is not a key of {_KEY_BYTES} bytes. Delete it; a new one is made.") from None
        return key
    key = secrets.token_bytes(_KEY_BYTES)
    with os.fdopen(handle, "wb") as opened:
        opened.write(key)
        opened.flush()
        os.fsync(opened.fileno())
    return key
