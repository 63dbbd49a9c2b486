"""Screens a stream of contents in order: hashes from sandbox workers, hooks from threads, little in memory at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.data.escalations import Verdict
from pipeline.images import sandbox
from pipeline.screening.screens import Hashed, Screens

Item = TypeVar("Item")


@dataclass
class _Step(Generic[Item]):
    """An item on its way: its bytes, what exact lists say of them, and whether a worker is to hash them."""

    item: Item
    data: bytes | None
    exact: Verdict | None
    decoded: bool


@dataclass(frozen=True)
class Stream:
    """`data.escalations.Screen`, by a project's screens."""

    screens: Screens

    def screen(
        self, items: Iterable[Item], content: Callable[[Item], bytes | None]
    ) -> Iterator[tuple[Item, Verdict | None]]:
        """Yield every item in order with the verdict on its bytes, None without bytes.

        Raises:
            UserError: workers cannot be started, or a hook is out of service.

        """
        hashed = self._hashed(self._step(item, content(item)) for item in items)
        if not self.screens.calls:
            yield from ((step.item, self._judged(step, outcome)) for step, outcome in hashed)
            return
        with ThreadPoolExecutor(self.screens.calls) as threads:
            yield from self._in_threads(threads, hashed)

    def _step(self, item: Item, data: bytes | None) -> _Step[Item]:
        exact = None if data is None else self.screens.exact(data)
        return _Step(item, data, exact, self.screens.perceptual and exact is not None and not exact.matches)

    def _hashed(self, steps: Iterable[_Step[Item]]) -> Iterator[tuple[_Step[Item], Hashed]]:
        """Yield each step with its hashes, in order; only what must be decoded goes through the workers."""
        waiting: deque[_Step[Item]] = deque()

        def contents() -> Iterator[bytes]:
            for step in steps:
                waiting.append(step)
                if step.decoded:
                    yield step.data or b""

        if not self.screens.perceptual:
            yield from ((step, None) for step in steps)
            return
        for outcome in sandbox.run(self.screens.hasher.of_bytes, contents(), self.screens.cost, weigh=len):
            while not waiting[0].decoded:
                yield waiting.popleft(), None
            yield waiting.popleft(), outcome
        yield from ((step, None) for step in waiting)

    def _judged(self, step: _Step[Item], hashed: Hashed) -> Verdict | None:
        if step.data is None or step.exact is None or step.exact.matches:
            return step.exact
        return self.screens.judge(step.data, step.exact, hashed)

    def _in_threads(
        self, threads: ThreadPoolExecutor, hashed: Iterator[tuple[_Step[Item], Hashed]]
    ) -> Iterator[tuple[Item, Verdict | None]]:
        pending: deque[tuple[Item, Future[Verdict | None]]] = deque()
        for step, outcome in hashed:
            pending.append((step.item, threads.submit(self._judged, step, outcome)))
            if len(pending) > 2 * self.screens.calls:
                item, future = pending.popleft()
                yield item, future.result()
        yield from ((item, future.result()) for item, future in pending)
