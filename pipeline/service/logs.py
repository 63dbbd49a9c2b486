"""One JSON line an event on stdout. What a client sends never gets in raw: no bytes, no name of a file."""

import logging
import re
import sys
import uuid

from pythonjsonlogger.json import JsonFormatter

_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def set_up(level: int = logging.INFO) -> None:
    """Let everything that this process logs be JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "at", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in ("uvicorn.access", "httpx", "h5py", "absl"):
        logging.getLogger(name).setLevel(logging.WARNING)


def request_id(said: bytes | None) -> str:
    """Return the client's id of a request where it is harmless (64 letters, digits, `.`, `_`, `-`), or a new one."""
    text = (said or b"").decode("latin-1")
    return text if _SANE.fullmatch(text) else uuid.uuid4().hex
