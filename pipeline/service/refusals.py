"""Refused requests: one exception and one form of error body for the whole service."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


class Refused(Exception):  # noqa: N818 -- an outcome, not a defect
    """A request that is refused, with an HTTP status, a stable `code` for programs and a `detail` for people.

    Attributes:
        status: HTTP status, 400 to 503.
        code: `malformed`, `too_large`, `busy`...
        detail: one sentence that reveals no internals of the server.
        retry_after: seconds after which a retry makes sense; None if it does not.
        close: whether the connection is closed without reading the rest of the body.

    """

    def __init__(
        self, status: int, code: str, detail: str, *, retry_after: int | None = None, close: bool = False
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.close = close

    def response(self) -> Response:
        """Return the HTTP response."""
        headers = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.close:
            headers["connection"] = "close"
        return answer({"error": {"code": self.code, "detail": self.detail}}, self.status, headers)


def answer(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response in ASCII; other characters in file names, lone surrogates too, are escaped."""
    body = json.dumps(document, allow_nan=False).encode("ascii")
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")
