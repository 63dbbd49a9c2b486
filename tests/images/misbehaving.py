"""What a hostile picture may do to the worker that opens it; importable by workers, and cheap to import."""

import os
import signal
import time

from pipeline.images.decode import Rejected


def act(what: str) -> str:
    """Do it, or return `what` in capitals."""
    if what == "hang":
        time.sleep(60)
    elif what == "exit":
        os._exit(3)
    elif what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "hog":
        return str(len(bytearray(2**30)))
    elif what == "reject":
        raise Rejected("broken", "not whole")
    elif what == "defect":
        raise ZeroDivisionError("ours")
    elif what == "pid":
        return str(os.getpid())
    elif what == "dump":
        import resource

        return str(resource.getrlimit(resource.RLIMIT_CORE))
    return what.upper()
