"""The screens of a project, opened: what each content is held against, and what comes of it.

    screens = open_screens(params)  # None where params.yaml has no list and no hook
    verdict = screens.examine(data)

Exact lists are asked first, in this process, then PDQ lists, whose hashes sandbox workers compute, then hooks; what one
of them matches is not sent to the next. What no decoder opens has no PDQ hash: exact lists and hooks alone see it.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipeline.core.errors import UserError
from pipeline.data.escalations import Match, Verdict
from pipeline.images import sandbox
from pipeline.images.sandbox import Failure, WorkerLimits
from pipeline.params.root import Params
from pipeline.params.screens import Screens as Settings
from pipeline.screening import hooks, lists
from pipeline.screening.hashing import FrameHashes, Hasher
from pipeline.screening.hooks import HookError
from pipeline.screening.index import PdqIndex
from pipeline.screening.lists import HashList

_TRIES = 2
_DOWN = 5  # failures in a row, after which a hook is taken to be out of service

Hashed = list[FrameHashes] | Failure | None


class Screens:
    """Opened lists, and the hooks. Threads may share it.

    `contact`: whom to call. `digest`: changes with every list, hook and limit. With `patient`, a hook that is out of
    service raises nothing: each of its pictures is unscreened.
    """

    def __init__(
        self, settings: Settings, opened: Sequence[HashList], hasher: Hasher, cost: WorkerLimits, *, patient: bool
    ) -> None:
        self.contact = settings.contact or ""
        self.hasher, self.cost = hasher, cost
        self._settings, self._patient = settings, patient
        self._exact = [one for one in opened if one.kind != "pdq"]
        self._pdq = [(one.name, PdqIndex(one.array())) for one in opened if one.kind == "pdq"]
        self.digest = _digest(settings, opened)
        self._failures = Counter[str]()
        self._lock = threading.Lock()

    @property
    def perceptual(self) -> bool:
        """Whether a content must be decoded."""
        return bool(self._pdq)

    @property
    def calls(self) -> int:
        """How many contents may be judged at a time: 0 where that waits for no hook."""
        return self._settings.hook_calls if self._settings.hooks else 0

    def exact(self, data: bytes) -> Verdict:
        """Return what the exact lists say of a content."""
        wanted = {"sha256", *(one.kind for one in self._exact)}
        digests = {kind: _digest_of(kind, data) for kind in wanted}
        matches = tuple(
            Match(one.name, one.kind, digests[one.kind].hex())
            for one in self._exact
            if digests[one.kind] in one.digests
        )
        return _complete(Verdict(digests["sha256"].hex(), "", "", "", matches), data)

    def judge(self, data: bytes, exact: Verdict, hashed: Hashed) -> Verdict:
        """Return what all screens say; `hashed` is what `hasher` made of the bytes, or why it could not.

        Raises:
            UserError: a hook is out of service.

        """
        first = replace(exact, pdq=_own(hashed))
        if isinstance(hashed, Failure) and not hashed.final and not exact.matches:
            return _with(first, problem=f"its PDQ hash could not be computed ({hashed})")
        if isinstance(hashed, list):
            first = self._near(first, hashed)
        return _complete(first if first.matches else self._by_hooks(first, data), data)

    def examine(self, data: bytes) -> Verdict:
        """Return what all screens say of a content: it waits for a sandbox worker, and for the hooks.

        Raises:
            UserError: workers cannot be started, or a hook is out of service.

        """
        exact = self.exact(data)
        if exact.matches or not self.perceptual:
            return exact if exact.matches else self.judge(data, exact, None)
        (hashed,) = sandbox.run(self.hasher.of_bytes, [data], self.cost)
        return self.judge(data, exact, hashed)

    def _near(self, verdict: Verdict, frames: list[FrameHashes]) -> Verdict:
        """Return the verdict with the PDQ lists that a frame of enough detail is near to."""
        usable = [frame for frame in frames if frame.quality >= self._settings.pdq_quality]
        matches, own = list(verdict.matches), verdict.pdq
        for name, index in self._pdq:
            near = [(index.nearest(frame.array, self._settings.pdq_distance), frame) for frame in usable]
            matched = [(nearest, frame) for nearest, frame in near if nearest is not None]
            if matched:
                nearest, frame = min(matched, key=lambda pair: pair[0].distance)
                matches.append(Match(name, "pdq", nearest.entry, nearest.distance))
                own = frame.own
        return replace(verdict, pdq=own, matches=tuple(matches))

    def _by_hooks(self, verdict: Verdict, data: bytes) -> Verdict:
        """Return the verdict with what the hooks answer; the first one that matches or fails is the last one asked."""
        for hook in self._settings.hooks:
            for attempt in range(_TRIES):
                try:
                    answer = hooks.ask(hook, data, self._settings.hook_seconds)
                except HookError as error:
                    if attempt + 1 < _TRIES:
                        continue
                    self._count_failure(hook.name, str(error))
                    return _with(verdict, problem=f"hook {hook.name}: {error}")
                self._failures.pop(hook.name, None)
                if answer.match:
                    return _with(verdict, matches=(Match(hook.name, "hook", answer.entry),))
                break
        return verdict

    def _count_failure(self, name: str, why: str) -> None:
        with self._lock:
            self._failures[name] += 1
            failures = self._failures[name]
        if failures >= _DOWN and not self._patient:
            raise UserError(
                f"the hook {name!r} of ingest.screens failed for {failures} pictures in a row: {why}. Nothing passes "
                "without its answer. Bring it back, and run this again."
            )


def open_screens(params: Params, *, cost: WorkerLimits, patient: bool = False) -> Screens | None:
    """Return the screens of params.yaml; None where it has no list and no hook.

    `cost`: the limits of a worker for one picture.

    Raises:
        UserError: a list cannot be read, or has wrong lines.

    """
    settings = params.ingest.screens
    if not settings.active:
        return None
    opened = [lists.read(one, settings.pdq_quality) for one in settings.lists]
    return Screens(settings, opened, Hasher.of(params.catalog), cost, patient=patient)


def _digest_of(kind: str, data: bytes) -> bytes:
    return hashlib.new(kind, data, usedforsecurity=False).digest()


def _complete(verdict: Verdict, data: bytes) -> Verdict:
    """Return a verdict with the digests that a record needs; nobody needs them of what matches nothing."""
    if not verdict.matches or verdict.md5:
        return verdict
    md5, sha1 = (_digest_of(kind, data).hex() for kind in ("md5", "sha1"))
    return replace(verdict, md5=md5, sha1=sha1)


def _own(hashed: Hashed) -> str:
    return hashed[0].own if isinstance(hashed, list) and hashed else ""


def _with(verdict: Verdict, *, matches: tuple[Match, ...] = (), problem: str = "") -> Verdict:
    return replace(verdict, matches=matches, problem=problem)


def _digest(settings: Settings, opened: Sequence[HashList]) -> str:
    digest = hashlib.sha256(settings.model_dump_json(exclude={"contact", "records"}).encode())
    for one in opened:
        digest.update(one.array().tobytes())
    return digest.hexdigest()
