"""Ingest lists from a server on loopback as `nsfw ingest urls` does, again and again, killed after so many URLs.

    python killed_crawl.py PORT WORK DIE_AFTER ...

Leaves WORK/1 and WORK/16, with so many connections. Each run is a fork of this process, so that nothing heavy is
imported twice. DIE_AFTER 0: it is not killed.
"""

import os
import signal
import sys
from itertools import count, product
from pathlib import Path

from pipeline.params.ingest import Ingest
from pipeline.web_ingest import batch, ingest
from pipeline.web_ingest.journal import open_journal
from tests.support.crawls import LIMITS, items, loopback
from tests.support.web_server import lookup


def take(port: int, work: Path, connections: int, die_after: int) -> None:
    finished = count(1)

    def done() -> None:
        if next(finished) == die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    changes = {"connections": connections, "per_host": connections, "contact": f"with-{connections}@example.org"}
    limits = Ingest.model_validate(LIMITS | changes)
    with open_journal(work / "journals", "web") as journal:
        ingest.fetch(items(port), journal, limits, progress=lambda *_: done, rule=loopback, lookup=lookup)
        if die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        batch.write(items(port), journal, work / "data", "web")
        journal.delete()


def main() -> None:
    port, work = int(sys.argv[1]), Path(sys.argv[2])
    for connections, die_after in product((1, 16), map(int, sys.argv[3:])):
        child = os.fork()
        if not child:
            try:
                take(port, work / str(connections), connections, die_after)
            except BaseException as error:  # noqa: BLE001 -- a fork must not run on as the parent does
                print(repr(error), file=sys.stderr)
                os._exit(1)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended != (-signal.SIGKILL if die_after else 0):
            sys.exit(f"{die_after}: ended with {ended}")


main()
