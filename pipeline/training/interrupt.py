"""Requests to stop (SIGTERM, Ctrl-C), heard between two steps; a second one stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_open: list[threading.Event] = []  # one for each context, the outermost first


@contextmanager
def requests_to_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether this process was asked to stop while the context lasts.

    In nested contexts a request is heard by all, and by those that are entered after it.
    """
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread alone
        yield lambda: False
        return
    asked = threading.Event()
    if _open:
        if _open[-1].is_set():
            asked.set()
        _open.append(asked)
        try:
            yield asked.is_set
        finally:
            _open.remove(asked)
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def hear(number: int, _frame: FrameType | None) -> None:
        for context in _open:
            context.set()
        signal.signal(number, before[signal.Signals(number)])

    _open.append(asked)
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # a shell's background job ignores Ctrl-C, and should go on to
            signal.signal(number, hear)
    try:
        yield asked.is_set
    finally:
        _open.remove(asked)
        for number, handler in before.items():
            signal.signal(number, handler)
