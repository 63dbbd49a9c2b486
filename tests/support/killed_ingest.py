"""Ingest the folders of a scrape, or archives in them, one by one, and die before the n-th file operation below data/.

    python killed_ingest.py SCRAPE WORK STEP [PROJECT]

PROJECT is a folder whose params.yaml has screens. Leaves WORK/whole (never killed) and, for n = 0, STEP, 2 STEP, ...,
WORK/<n>/data: killed there, then run again. Each run is a fork of this process: nothing heavy is imported twice.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

from pipeline.data import batch_writer
from pipeline.data import folder as folders
from pipeline.data.escalations import Screen
from pipeline.tar_ingest.archives import find
from pipeline.tar_ingest.ingest import Intake
from pipeline.tar_ingest.labels import rule

LABELS = ("drawings", "neutral")
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod"}


def ingest_all(scrape: Path, data: Path, die_before: int | None, screen: Screen | None) -> None:
    if die_before is not None:
        numbers = count()

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event in EVENTS and str(arguments[0]).startswith(str(data)) and next(numbers) == die_before:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
    for batch in sorted(scrape.iterdir()):
        if archives := sorted(batch.rglob("*.tar")):
            Intake(find(archives), rule(LABELS, None, None), 10_000).write(data, batch.name, screen=screen)
        else:
            folders.ingest(folders.scan(batch, LABELS), data, batch.name, screen=screen)


def in_a_fork(scrape: Path, data: Path, die_before: int | None, screen: Screen | None) -> bool:
    """Run and tell whether it was killed; any other end than death or success is an error."""
    child = os.fork()
    if not child:
        try:
            ingest_all(scrape, data, die_before, screen)
        except BaseException as error:  # noqa: BLE001 -- a fork must not run on as the parent does
            print(f"n={die_before}: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in {0, -signal.SIGKILL}:
        sys.exit(1)
    return status == -signal.SIGKILL


def screen_of(project: str) -> Screen:
    from pipeline.screening.stream import Stream
    from tests.support.screens import opened

    os.chdir(project)
    return Stream(opened())


def main() -> None:
    scrape, work, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    screen = screen_of(sys.argv[4]) if len(sys.argv) > 4 else None
    batch_writer.SHARD_PICTURES = 2
    in_a_fork(scrape, work / "whole" / "data", None, screen)
    for number in count(step=step):
        data = work / f"{number:03d}" / "data"
        if not in_a_fork(scrape, data, number, screen):
            break
        in_a_fork(scrape, data, None, screen)


main()
