"""What a server answers when it cannot use the bucket behind it: a matter of its administrator, not of the user.

MLflow passes on what S3 says to the server (401, 403) as if it were about the person at the keyboard, and closes the
connection in the middle of an upload that it cannot store.
"""

import json
import re
from typing import Any

_ROUTE = "/mlflow-artifacts/"
_OF_THE_BUCKET = re.compile(r"artifacts in \w+://")
_BY_STATUS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}


def problem(error: BaseException) -> str:
    """Return what is wrong with the store behind the server; "" if the error is about something else."""
    response = getattr(error, "response", None)
    if response is None:
        broken = _ROUTE in str(error) and "Max retries exceeded" in str(error)
        return _advice("it broke off the request; its log has the reason") if broken else ""
    message = str(_document(response).get("message", ""))
    if _OF_THE_BUCKET.search(message):
        return _advice(message)
    status = int(response.status_code)
    return _advice(f"HTTP {status}; its log has the reason") if _ROUTE in str(error) and status >= 500 else ""


def error_code(error: BaseException) -> str:
    """Return MLflow's code of an error; of an answer about artifacts, which has none, by its HTTP status."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return str(getattr(error, "error_code", None) or _BY_STATUS.get(status or 0, ""))


def _advice(reason: str) -> str:
    return (
        f"cannot use its store of artifacts ({reason.rstrip('.')[:300]}). Its administrator has to check the "
        "bucket and the server's key (docs/operations.md); then run this again"
    )


def _document(response: Any) -> dict[str, Any]:
    try:
        document = json.loads(response.text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
