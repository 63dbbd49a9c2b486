"""Who may log in where the page is reachable from other machines: lines `name,token` of a file of its owner alone."""

import hmac
import stat
from collections.abc import Mapping
from pathlib import Path

from pipeline.core.errors import UserError

SHORTEST = 20


def read(path: Path) -> dict[str, str]:
    """Return each reviewer's token.

    Raises:
        UserError: the file is missing, readable by others, or a line is wrong; no message holds a token.

    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no readable file of tokens ({type(error).__name__}): lines name,token.") from None
    if stat.S_IMODE(mode) & 0o077:
        raise UserError(f"{path} can be read by others (mode {stat.S_IMODE(mode):o}): chmod 600 {path}")
    names: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, comma, token = (part.strip() for part in line.partition(","))
        _check(f"{path}, line {number}", name, comma, token, names)
        names[name] = token
    if not names:
        raise UserError(f"{path} holds no line name,token.")
    return names


def _check(where: str, name: str, comma: str, token: str, names: Mapping[str, str]) -> None:
    if not comma or not name or not name.isprintable() or "+" in name:
        raise UserError(f"{where} is not name,token, with a name of printable characters without a plus sign.")
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable():
        raise UserError(f"{where}: a token has {SHORTEST} plain characters or more: openssl rand -hex 20 makes one.")
    if name in names or token in names.values():
        raise UserError(f"{where} has a name or a token that an earlier line has.")


def reviewer_of(token: str, names: Mapping[str, str]) -> str | None:
    """Return whose token it is; None if nobody's. Every token is compared, in constant time."""
    owner = None
    for name, own in names.items():
        if hmac.compare_digest(own.encode(), token.encode()):
            owner = name
    return owner
