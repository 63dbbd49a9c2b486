"""The progress of a training: a bar on a terminal, elsewhere a log line from time to time."""

import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

# Without a terminal: about six lines a training, or more where it is long. The run record has every epoch.
_LINES, _SHORTEST_SECONDS, _LONGEST_SECONDS = 6, 60.0, 600.0

_log = logging.getLogger(__name__)


class Progress:
    """Shows epoch, pictures per second, time left, and the recall of the unsafe classes."""

    def __init__(
        self, name: str, epochs: int, pictures: int, unsafe: Sequence[str], *, tty: bool | None = None
    ) -> None:
        self._name, self._epochs, self._pictures, self._unsafe = name, epochs, pictures, unsafe
        self._tty = sys.stderr.isatty() if tty is None else tty
        self._epoch, self._seen, self._done = 0, 0, 0
        self._started = time.monotonic()
        self._last_line = -math.inf

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._bar = tqdm(
            total=self._epochs * self._pictures, unit="img", unit_scale=True, disable=not self._tty, leave=False
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def begin_epoch(self, epoch: int, seen: int) -> None:
        """Start an epoch (from 0), or resume it after `seen` of its pictures."""
        self._epoch, self._seen = epoch, seen
        self._bar.set_description(f"{self._name} epoch {epoch + 1}/{self._epochs}", refresh=False)
        self._bar.n = self._bar.last_print_n = epoch * self._pictures + seen
        self._bar.refresh()

    def advance(self, seen: int) -> None:
        """Show that `seen` pictures of the epoch are done."""
        step, self._seen = seen - self._seen, seen
        self._done += step
        self._bar.update(step)

    def end_epoch(self, metrics: Mapping[str, float]) -> None:
        """Show the epoch's metrics."""
        shown = {"loss": metrics["loss"], "macro recall": metrics["val_macro_recall"]}
        shown |= {name: metrics[f"val_recall/{name}"] for name in self._unsafe if f"val_recall/{name}" in metrics}
        text = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
        self._bar.set_postfix_str(text)
        if not self._tty:
            self._log_line(text)

    def _log_line(self, text: str) -> None:
        now = time.monotonic()
        speed = self._done / max(1e-9, now - self._started)  # of this process, validation included
        left = (self._epochs - self._epoch - 1) * self._pictures / max(1e-9, speed)
        pause = min(_LONGEST_SECONDS, max(_SHORTEST_SECONDS, (now - self._started + left) / _LINES))
        if now - self._last_line >= pause:
            self._last_line = now
            epoch = f"{self._name} epoch {self._epoch + 1}/{self._epochs}"
            _log.info("%s: %s; %.0f images/s, %s left", epoch, text, speed, _duration(left))


def _duration(seconds: float) -> str:
    return tqdm.format_interval(seconds) if seconds >= 1 else "nothing"
