"""Why a request gets no answer: one exception, one shape of body, for every door into the service."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


class Refused(Exception):  # noqa: N818 -- an outcome, not a defect
    """A request that is not served: an HTTP status, a stable `code` for programs, a `detail` for people.

    Attributes:
        status: of HTTP, 400 to 503.
        code: `malformed`, `too_large`, `busy`...
        detail: one sentence, without anything of the server's inside.
        retry_after: seconds until it is worth trying again; None: it is not.
        close: whether the connection is to end, as the rest of the body is not wanted.

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
        """Return the answer."""
        headers = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.close:
            headers["connection"] = "close"
        return answer({"error": {"code": self.code, "detail": self.detail}}, self.status, headers)


def answer(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response; whatever a client called its files is escaped to ASCII, lone surrogates too."""
    body = json.dumps(document, allow_nan=False).encode("ascii")
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")
