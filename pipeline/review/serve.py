"""`nsfw review`: runs the pages until Ctrl-C."""

import socket
from collections.abc import Callable
from pathlib import Path

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.users import user_name
from pipeline.images import sandbox
from pipeline.pages import serving, sessions
from pipeline.pages.hosts import AllowedHosts, is_loopback
from pipeline.params.root import Params
from pipeline.review import tokens
from pipeline.review.app import application
from pipeline.review.entrance import Entrance
from pipeline.review.store import Store
from pipeline.review.workplace import Workplace

COOKIE, COOKIE_BY_TOKEN = "nsfw_review", "nsfw_review_token"


def entrance(params: Params, host: str, token_file: Path | None) -> Entrance:
    """Return who may come in.

    Raises:
        UserError: the page would be reachable from other machines without tokens; or the file of tokens is wrong.

    """
    named = tokens.read(token_file) if token_file is not None else None
    if named is None and not is_loopback(host):
        raise UserError(
            f"--host {host} is reachable from other machines, and anyone there could see the pictures and decide. "
            f"Name a file of lines name,token with --tokens FILE (chmod 600; a token has {tokens.SHORTEST} "
            "characters or more), or leave --host out and use an ssh tunnel."
        )
    key = sessions.load_key(paths.REVIEW_KEY)
    names = params.review.reviewers or (user_name(),)
    return Entrance(sessions.Sessions(key, COOKIE if named is None else COOKIE_BY_TOKEN), names, named)


def serve(
    params: Params, *, host: str, port: int, token_file: Path | None, ready: Callable[[str, socket.socket], None]
) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` is called with the address once requests are taken.

    Raises:
        UserError: see `entrance`; the address cannot be used; there is no catalog yet.

    """
    people = entrance(params, host, token_file)
    listening = serving.listen(host, port)
    store = Store(paths.REVIEW)
    try:
        store.add_people(people.people)
        app = application(Workplace(params, store), people, AllowedHosts.of(host))
        ready(serving.address(listening), listening)
        serving.run(app, listening)
    finally:
        store.close()
        sandbox.stop()
