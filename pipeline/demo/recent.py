"""What the model said lately, so that a report is about an answer that it gave. In memory alone; no picture is kept."""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from pipeline.reports.receiving import ModelAnswer

_MOST = 5_000
_SECONDS = 3600.0


@dataclass(frozen=True)
class Answered:
    """An answer of the model, and the browser's session that got it."""

    session: str
    answer: ModelAnswer
    until: float = field(default_factory=lambda: time.monotonic() + _SECONDS)


class RecentAnswers:
    """The answers of the last hour, the last _MOST of them at most. Used in one event loop, so it needs no locks."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, Answered] = OrderedDict()

    def add(self, answered: Answered) -> str:
        """Remember an answer; return its id."""
        identity = secrets.token_urlsafe(16)
        self._answers[identity] = answered
        while len(self._answers) > _MOST:
            self._answers.popitem(last=False)
        return identity

    def get(self, identity: str, session: str) -> Answered | None:
        """Return an answer that this session got; None if there is none, or it is too old."""
        answered = self._answers.get(identity)
        if answered is None or answered.session != session or time.monotonic() > answered.until:
            return None
        return answered
