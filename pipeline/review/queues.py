"""Queues: lists of pictures for people to look at, each with a name, a title, a count and its items in order of work.

A source is a function of a Library and params that returns queues; add one to SOURCES, and its queues are on the page.
A queue with a `link` has a page of its own at that address: its items are not pictures of data/.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from pipeline.params.root import Params
from pipeline.review.library import Library

SUSPICIONS, PAIRS, CONFLICTS, SAMPLE, DISAGREEMENTS = "suspicions", "pair", "conflicts", "sample", "disagreements"


@dataclass(frozen=True)
class Queue:
    """A list of work.

    Attributes:
        name: in its address: letters, digits, _ - and dots.
        title: for people.
        about: one sentence on what it is, and what to do.
        groups: its pictures (sha256) in order; those of a group (a cluster) are one person's together.
        link: the address of a page of its own, if it has one; then `size` counts its items.
        size: see `link`.

    """

    name: str
    title: str
    about: str
    groups: Sequence[Sequence[str]] = field(default=(), repr=False)
    link: str = ""
    size: int = 0

    @property
    def items(self) -> list[str]:
        """Every picture, in order."""
        return [sha256 for group in self.groups for sha256 in group]

    @property
    def count(self) -> int:
        """How many items it has, decided ones included."""
        return self.size if self.link else sum(map(len, self.groups))


Source = Callable[[Library, Params], list[Queue]]


def all_queues(library: Library, params: Params, disagreed: Sequence[str] = ()) -> dict[str, Queue]:
    """Return every queue by name, without pictures that data/decisions.csv has a row for, or that are not here.

    `disagreed`: the pictures on which two people differ.
    """
    groups = [(sha256,) for sha256 in disagreed if sha256 in library]
    about = "Two people differ on these. What is decided here is final."
    disagreements = Queue(DISAGREEMENTS, "Disagreements", about, groups)
    queues = [disagreements, *(queue for source in SOURCES for queue in source(library, params))]
    return {queue.name: queue for queue in queues}


def suspicions(library: Library, _: Params) -> list[Queue]:
    """Return all labels that the audit contradicts, the likeliest wrong one first."""
    about = "Labels that the model contradicts, the likeliest wrong one first."
    rows = _undecided(library.frames["suspicions"], library)
    return [Queue(SUSPICIONS, "All suspicious labels", about, _singles(rows))]


def pairs(library: Library, _: Params) -> list[Queue]:
    """Return the contradicted labels of each pair of classes (given as, looks like), the largest first."""
    rows = _undecided(library.frames["suspicions"], library)
    by_pair = list(rows.groupby(["label", "suggested"]))
    return [
        Queue(
            f"{PAIRS}.{given}.{suggested}",
            f"{given} → {suggested}",
            f"Given as {given}, but the model takes them for {suggested}.",
            _singles(part),
        )
        for (given, suggested), part in sorted(by_pair, key=lambda item: (-len(item[1]), item[0]))
    ]


def conflicts(library: Library, _: Params) -> list[Queue]:
    """Return the clusters of copies under several labels, one after the other."""
    rows = _undecided(library.frames["conflicts"].drop_duplicates("sha256"), library)
    groups = [tuple(part["sha256"]) for _, part in rows.groupby("cluster", sort=False)]
    about = "Copies of one picture under several labels: nothing of them is learned from until someone decides."
    return [Queue(CONFLICTS, "Conflicts", about, groups)]


def audit_sample(library: Library, params: Params) -> list[Queue]:
    """Return pictures drawn at random from all splits: they tell how many labels are wrong, whatever a model says."""
    splits = library.frames["splits"]
    order = splits["sha256"].map(lambda sha256: _position(sha256, params.seed)).argsort(kind="stable")
    rows = _undecided(splits.iloc[order].head(params.review.audit_sample), library)
    about = "Drawn at random, whatever the model says: the share of finds here is the share of wrong labels."
    return [Queue(SAMPLE, "Random sample", about, _singles(rows))]


SOURCES: tuple[Source, ...] = (suspicions, conflicts, audit_sample, pairs)


def _undecided(rows: pd.DataFrame, library: Library) -> pd.DataFrame:
    known = rows["sha256"].map(lambda sha256: sha256 in library and sha256 not in library.decided)
    return rows[known.astype(bool)]


def _singles(rows: pd.DataFrame) -> list[tuple[str]]:
    return [(sha256,) for sha256 in rows["sha256"]]


def _position(sha256: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"audit sample {seed} {sha256}".encode()).digest()[:7], "big")
