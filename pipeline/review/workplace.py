"""Everything that the pages and the API work with: tables, queues, decisions, thumbnails. One for a whole server."""

import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.core import executor, paths
from pipeline.core.decisions import ACTS, ESCALATE, KEEP
from pipeline.core.errors import UserError
from pipeline.images import sandbox, thumbnails
from pipeline.images.limits import Limits
from pipeline.params.root import Params
from pipeline.review import acts, progress, queues, report_pages
from pipeline.review.acts import REFUSED, Act, Desk, Outcome, Rules
from pipeline.review.library import Library
from pipeline.review.neighbours import LazyNeighbours
from pipeline.review.opinions import Opinion
from pipeline.review.queues import Queue
from pipeline.review.store import Store

NEIGHBOURS = 8
_TABLES = (
    paths.CATALOG, paths.SPLITS, paths.DUPLICATES, paths.CONFLICTS, paths.LABEL_ISSUES, paths.LABEL_QUALITY,
    paths.PREDICTIONS, paths.DECISIONS, paths.REGISTERED,
)  # fmt: skip


def rules(params: Params, store: Store) -> Rules:
    """Return the rules of params.yaml; nobody's decision waits for a second opinion where there is no second person."""
    review = params.review
    several = len({*review.reviewers, *store.people()}) > 1
    return Rules(review.second_opinion if several else 0.0, params.seed, 60 * review.lease_minutes)


class Workplace:
    """The state of a review server."""

    def __init__(self, params: Params, store: Store, library: Callable[[], Library] | None = None) -> None:
        self.params, self.store, self.rules = params, store, rules(params, store)
        self._load = library or (lambda: Library.load(params))
        self._lock = threading.Lock()
        self._stamp = _stamp()
        self.library = self._load()
        self.neighbours = LazyNeighbours(paths.EMBEDDINGS)
        self._queues = queues.all_queues(self.library, params)
        self._escalated: set[str] = set()
        self.refresh_escalated()

    def reload(self) -> None:
        """Read the tables anew if `dvc repro` has made others."""
        with self._lock:
            stamp = _stamp()
            if stamp == self._stamp:
                return
            try:
                library = self._load()
            except UserError:
                return  # a stage is at work: the tables of before are as good
            self.library, self._stamp = library, stamp
            self.neighbours = LazyNeighbours(paths.EMBEDDINGS)
            self._queues = queues.all_queues(library, self.params)
        self.refresh_escalated()

    def queues(self, by_picture: Mapping[str, Sequence[Opinion]] | None = None) -> dict[str, Queue]:
        """Return every queue by name; disagreements are those of now."""
        by_picture = acts.all_opinions(self.store) if by_picture is None else by_picture
        groups = [(one,) for one in progress.disagreed(by_picture, self.rules) if one in self.library]
        last = self._queues[queues.DISAGREEMENTS]
        public = report_pages.queue()
        return self._queues | {last.name: replace(last, groups=groups), public.name: public}

    def claim(self, reviewer: str, queue: Queue, most: int, shown: Collection[str]) -> tuple[list[str], int]:
        """Claim the next pictures of a queue for someone; return them, and how many of it others hold."""
        skipped = set(shown) | self._escalated
        groups = (group for group in queue.groups if skipped.isdisjoint(group))
        final = queue.name == queues.DISAGREEMENTS
        claimed = Desk(self.store, self.rules, reviewer).claim(groups, most, disagreements=final)
        held = acts.held_by_others(self.store, reviewer)
        return claimed, len(held.intersection(queue.items)) if held else 0

    def perform(self, reviewer: str, wanted: Sequence[Act]) -> list[Outcome]:
        """Do these acts in order; what cannot be done is refused with its reason, and the others are done."""
        checked = [self._completed(act) for act in wanted]
        done = iter(Desk(self.store, self.rules, reviewer).perform([act for act in checked if isinstance(act, Act)]))
        outcomes = [next(done) if isinstance(act, Act) else act for act in checked]
        if any(act.undo or act.act == ESCALATE for act in wanted):
            self.refresh_escalated()
        return outcomes

    def _completed(self, act: Act) -> Act | Outcome:
        """Return a decision with what the server knows of its picture; or the refusal."""
        if act.undo:
            return act
        if act.sha256 not in self.library:
            return Outcome(act.id, REFUSED, "no such picture")
        if act.act not in (*self.library.names, *ACTS):
            return Outcome(act.id, REFUSED, "no such label")
        picture = self.library.about(act.sha256)
        name = KEEP if act.act == picture.label else act.act
        if name == KEEP and len(picture.labels) != 1:
            return Outcome(act.id, REFUSED, "it has several labels: name the right one")
        return replace(
            act,
            act=name,
            old_label=picture.label,
            suggested=picture.suggested,
            split=picture.split,
            model_version=self.library.model_version,
        )

    def thumbnail(self, sha256: str) -> bytes | None:
        """Return a picture's thumbnail; None if there is no such picture, or it no longer decodes.

        Raises:
            PermissionError: it is escalated, and shown to nobody.

        """
        if sha256 not in self.library:
            return None
        if sha256 in self._escalated:
            raise PermissionError("escalated")
        catalog = self.params.catalog
        cost = sandbox.WorkerLimits(catalog.seconds, catalog.memory_mb, executor.cores())
        try:
            data = thumbnails.read(self.library.member(sha256), paths.SHARDS, Limits(**catalog.limits), cost)
        except (FileNotFoundError, UserError):  # removed since the last `dvc repro`
            return None
        if sha256 in self._escalated:  # while it was made
            thumbnails.erase([sha256])
            raise PermissionError("escalated")
        return data

    def is_escalated(self, sha256: str) -> bool:
        """Whether nobody is to see a picture."""
        return sha256 in self._escalated

    def refresh_escalated(self) -> None:
        """Read anew what is escalated, copies included, and erase the thumbnails of these."""
        listed = acts.all_opinions(self.store).items()
        names = [sha256 for sha256, several in listed if any(one.act == ESCALATE for one in several)]
        self._escalated = self.library.escalated | self.library.with_copies(names)
        thumbnails.erase(self._escalated)

    def details(self, sha256: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return `picture, neighbours, problem` of each of these pictures that may be shown."""
        shown = [one for one in sha256 if one in self.library and not self.is_escalated(one)]
        nearest = self.neighbours.of(shown, NEIGHBOURS)
        return {
            one: {
                "picture": self.about(one),
                "neighbours": [
                    (neighbour, self.library.about(neighbour.sha256))
                    for neighbour in nearest[one]
                    if neighbour.sha256 in self.library and not self.is_escalated(neighbour.sha256)
                ],
                "problem": self.neighbours.problem,
            }
            for one in shown
        }

    def about(self, sha256: str) -> Any:
        """Return a picture without the copies that nobody is to see."""
        picture = self.library.about(sha256)
        return replace(picture, copies=[copy for copy in picture.copies if not self.is_escalated(copy.sha256)])


def _stamp() -> tuple[int, ...]:
    return tuple(os.stat(path).st_mtime_ns if path.exists() else 0 for path in _TABLES)  # noqa: PTH116
