"""Remove a picture from copies of a data/, and die before the n-th operation below it that writes.

    python killed_removal.py DATA WORK SHA256 STEP

Leaves WORK/whole (never killed) and, for n = 0, STEP, ..., WORK/<n>: killed there, then removed again. DATA is the
project that holds data/.
"""

import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

from pipeline.core import paths
from pipeline.data import completeness, folder, removal

EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR


def act(sha256: str, die_before: int | None) -> None:
    if die_before is not None:
        numbers = count()

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            writes = event in EVENTS or (event == "open" and int(str(arguments[2])) & WRITING)
            if writes and "data/" in str(arguments[0]) and next(numbers) == die_before:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
    completeness.check(paths.DATA)
    folder.prepare(paths.DATA)
    removal.record(paths.SIGHTINGS, [sha256], "ticket 1", f"--sha256 {sha256}")
    removal.purge()


def in_a_fork(root: Path, sha256: str, die_before: int | None) -> bool:
    child = os.fork()
    if not child:
        os.chdir(root)
        try:
            act(sha256, die_before)
        except BaseException as error:  # noqa: BLE001 -- a fork must not run on as the parent does
            print(f"n={die_before}: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in {0, -signal.SIGKILL}:
        sys.exit(1)
    return status == -signal.SIGKILL


def main() -> None:
    source, work, sha256 = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    shutil.copytree(source, work / "whole")
    in_a_fork(work / "whole", sha256, None)
    for number in count(step=int(sys.argv[4])):
        root = work / f"{number:03d}"
        shutil.copytree(source, root)
        if not in_a_fork(root, sha256, number):
            shutil.rmtree(root)
            break
        in_a_fork(root, sha256, None)


main()
