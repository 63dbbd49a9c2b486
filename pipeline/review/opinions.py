"""What several people's opinions on one picture come to: pure functions of decisions.

A picture is settled by one opinion; where a second one is due, by two that agree; where they differ, by a final
decision. To escalate is final at once: nobody else needs to look at such a picture.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.core.decisions import ESCALATE, KEEP

OPEN, WAITING, DISAGREED, SETTLED = "open", "waiting", "disagreed", "settled"


class Opinion(NamedTuple):
    """One person's decision about one picture, as a row of review.db."""

    number: int
    id: str
    sha256: str
    reviewer: str
    act: str
    old_label: str
    suggested: str
    queue: str
    split: str
    reason: str
    model_version: str
    decided_at: str
    final: bool
    written: bool

    @property
    def meaning(self) -> str:
        """What it makes of the picture: to keep a label and to give the same one are the same."""
        return self.old_label if self.act == KEEP else self.act

    @property
    def changes(self) -> bool:
        """Whether anything is different after it."""
        return self.meaning != self.old_label


def is_due(sha256: str, share: float, seed: int) -> bool:
    """Whether a second person looks at this picture, too: a seeded draw that depends on nothing else."""
    digest = hashlib.sha256(f"second opinion {seed} {sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def state(opinions: Sequence[Opinion], *, due: bool) -> str:
    """Return open, waiting (for a second opinion), disagreed or settled; `opinions` of one picture, in their order."""
    if not opinions:
        return OPEN
    if any(one.final or one.act == ESCALATE for one in opinions):
        return SETTLED
    if len(opinions) == 1:
        return WAITING if due else SETTLED
    return SETTLED if opinions[0].meaning == opinions[1].meaning else DISAGREED


def verdict(opinions: Sequence[Opinion]) -> Opinion:
    """Return the opinion that stands for a settled picture: a final one, else the last."""
    final = [one for one in opinions if one.final or one.act == ESCALATE]
    return final[-1] if final else opinions[-1]


def kappa(pairs: Iterable[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa of first and second opinions; None where it is not defined (too few, or all the same)."""
    listed = list(pairs)
    if len(listed) < 2 or len({meaning for pair in listed for meaning in pair}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    first, second = zip(*listed, strict=True)
    return float(cohen_kappa_score(list(first), list(second)))
