"""The progress of a search: a bar on a terminal, elsewhere a line for each trial."""

import sys
import time
from collections.abc import Callable
from typing import Self

import optuna
from tqdm import tqdm

from pipeline.params.root import Params
from pipeline.tuning import slots


class Progress:
    """Shows finished and pruned trials, the best one and the time left; calls `log` whenever trials have finished."""

    def __init__(self, study: optuna.Study, params: Params, log: Callable[[slots.StudyState], None] | None) -> None:
        self._study, self._params, self._log = study, params, log
        self._tty = sys.stderr.isatty()
        self._first = slots.study_state(study, params).finished
        self._last = -1
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._bar = tqdm(
            total=slots.study_state(self._study, self._params).total, desc="tune", unit="trial", disable=not self._tty
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self) -> slots.StudyState:
        """Show the study's state, and return it."""
        state = slots.study_state(self._study, self._params)
        if state.finished != self._last:
            self._last = state.finished
            self._show(state)
            if self._log is not None:
                self._log(state)
        return state

    def _show(self, state: slots.StudyState) -> None:
        best = "none yet" if state.best is None else f"{state.best.values[0]:.4f} (trial {state.best.number})"
        rungs = len(self._params.tune.rungs) + 1
        text = f"rung {state.rung} of {rungs}, " * (rungs > 1) + f"{state.pruned} pruned, best {best}"
        self._bar.n, self._bar.total = state.finished, state.total
        self._bar.set_postfix_str(text)
        if not self._tty:
            here = state.finished - self._first
            pace = (time.monotonic() - self._started) / max(1, here)
            left = tqdm.format_interval(pace * (state.total - state.finished)) if here else "?"
            print(f"tune: {state.finished} of {state.total} trials, {text}; {left} left", file=sys.stderr, flush=True)
