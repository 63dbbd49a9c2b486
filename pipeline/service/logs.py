"""Logging as JSON lines on stdout. Nothing that a client sends is logged as it is: no bytes, no file names."""

import logging
import re
import sys
import uuid

from pythonjsonlogger.json import JsonFormatter

_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def set_up(level: int = logging.INFO) -> None:
    """Log everything in this process as JSON."""
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


def request_id(sent: bytes | None) -> str:
    """Return the client's request id if it is harmless (at most 64 letters, digits, `.`, `_`, `-`), else a new one."""
    text = (sent or b"").decode("latin-1")
    return text if _SANE.fullmatch(text) else uuid.uuid4().hex
