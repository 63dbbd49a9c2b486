"""Asks a hook, a service such as PhotoDNA, about one picture: bytes out, a JSON answer back, within limits.

A command gets the bytes on its standard input; an address gets them as the body of a POST. Either answers, with exit
code 0 or status 200, `{"match": false}` or `{"match": true, "entry": "..."}`. Anything else is a failure, and a failure
never counts as `no match`. The bytes are in memory alone on their way.
"""

import asyncio
import contextlib
import os
import selectors
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.params.screens import ScreenHook

_MOST_BYTES = 2**16  # of an answer
_CHUNK = 2**14


class HookError(Exception):
    """A hook did not answer, or not as agreed; the message says why, in one line."""


class Answer(NamedTuple):
    """What a hook answers: whether the picture matches, and which entry, if it says."""

    match: bool
    entry: str


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    match: bool
    entry: str = Field("", max_length=500)


def ask(hook: ScreenHook, data: bytes, seconds: float) -> Answer:
    """Ask a hook about a picture.

    Raises:
        HookError: it did not answer within `seconds`, or with something else than agreed.

    """
    text = _from_command(hook.command, data, seconds) if hook.command else _from_address(hook, data, seconds)
    try:
        document = _Document.model_validate_json(text)
    except ValidationError:
        raise HookError('its answer is not {"match": true or false}') from None
    return Answer(document.match, document.entry)


def _from_command(command: tuple[str, ...], data: bytes, seconds: float) -> bytes:
    with os.fdopen(os.memfd_create("picture"), "w+b") as picture:  # no pipe that fills up, and no file on a disk
        picture.write(data)
        picture.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603 -- no shell; the command is the project's own, of params.yaml
                command, stdin=picture, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            raise HookError(f"{command[0]} cannot be started ({error.strerror})") from None
    try:
        answer = _output(process, time.monotonic() + seconds, seconds)
    finally:
        _end(process)
    if process.returncode:
        raise HookError(f"{command[0]} ended with exit code {process.returncode}")
    return answer


def _output(process: "subprocess.Popen[bytes]", until: float, seconds: float) -> bytes:
    """Return what a process writes, once it has ended."""
    output = bytearray()
    stream = process.stdout
    if stream is None:
        raise HookError("it has no output")
    with stream, selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, until - time.monotonic())):
                raise HookError(f"no answer within {seconds:g} s")
            chunk = os.read(stream.fileno(), _CHUNK)
            output += chunk
            if len(output) > _MOST_BYTES:
                raise HookError(f"its answer has more than {_MOST_BYTES} bytes")
            if not chunk:
                break
    try:
        process.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise HookError(f"it answered, but did not end within {seconds:g} s") from None
    return bytes(output)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started in its session."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _from_address(hook: ScreenHook, data: bytes, seconds: float) -> bytes:
    headers = {"Content-Type": "application/octet-stream", "Accept": "application/json"}
    if hook.token_file is not None:
        headers["Authorization"] = f"Bearer {_token(hook.token_file)}"
    return asyncio.run(_post(str(hook.url), data, headers, seconds))


def _token(file: str) -> str:
    try:
        token = Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HookError(f"its token_file {file} cannot be read ({type(error).__name__})") from None
    if not token.isprintable() or not token:
        raise HookError(f"its token_file {file} holds no token in one line")
    return token


async def _post(url: str, data: bytes, headers: dict[str, str], seconds: float) -> bytes:
    import aiohttp

    # No redirects and no proxy of the environment: the bytes go to the address of params.yaml, and nowhere else.
    limit = aiohttp.ClientTimeout(total=seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(url, data=data, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise HookError(f"it answers with status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise HookError(f"its answer has more than {_MOST_BYTES} bytes")
            return bytes(body)
    except TimeoutError:
        raise HookError(f"no answer within {seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise HookError(f"no answer ({type(error).__name__})") from None
