"""How far a search is: a bar on a terminal, elsewhere a line for each trial."""

import sys
import time
from collections.abc import Callable
from typing import Self

import optuna
from tqdm import tqdm

from pipeline.tuning import study


class Progress:
    """Shows trials done and pruned, the best, and the time left; tells `log` each time that trials have finished."""

    def __init__(self, searched: optuna.Study, total: int, log: Callable[[study.Standing], None] | None) -> None:
        self._searched, self._total, self._log = searched, total, log
        self._tty = sys.stderr.isatty()
        self._first = study.standing(searched, total).finished
        self._last = -1
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        self._bar = tqdm(total=self._total, desc="tune", unit="trial", disable=not self._tty)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def look(self) -> study.Standing:
        """Show how far the study is; return it."""
        now = study.standing(self._searched, self._total)
        if now.finished != self._last:
            self._last = now.finished
            self._show(now)
            if self._log is not None:
                self._log(now)
        return now

    def _show(self, now: study.Standing) -> None:
        best = "none yet" if now.best is None else f"{now.best.values[0]:.4f} (trial {now.best.number})"
        text = f"{now.pruned} pruned, best {best}"
        self._bar.n = now.finished
        self._bar.set_postfix_str(text)
        if not self._tty:
            here = now.finished - self._first
            pace = (time.monotonic() - self._begun) / max(1, here)
            left = tqdm.format_interval(pace * (now.total - now.finished)) if here else "?"
            print(f"tune: {now.finished} of {now.total} trials, {text}; {left} left", file=sys.stderr, flush=True)
