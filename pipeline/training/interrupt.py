"""Requests to stop (SIGTERM, Ctrl-C), checked between two steps; a second one stops the process at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_open: list[threading.Event] = []  # one for each context, the outermost first


@contextmanager
def requests_to_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether this process was asked to stop since the context was entered.

    A request reaches all nested contexts, also those that are entered after it.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield lambda: False
        return
    requested = threading.Event()
    if _open:
        if _open[-1].is_set():
            requested.set()
        _open.append(requested)
        try:
            yield requested.is_set
        finally:
            _open.remove(requested)
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        for context in _open:
            context.set()
        signal.signal(number, before[signal.Signals(number)])

    _open.append(requested)
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # a shell's background job ignores Ctrl-C, and should continue to
            signal.signal(number, on_signal)
    try:
        yield requested.is_set
    finally:
        _open.remove(requested)
        for number, handler in before.items():
            signal.signal(number, handler)
