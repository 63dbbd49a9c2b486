"""`nsfw serve`: the HTTP service (this room) on what is in production, as promotion.service verifies it."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.images.limits import Limits
from pipeline.images.preprocessing import FrameSquares, Squaring
from pipeline.params.root import Params
from pipeline.promotion.registration import limits
from pipeline.registry import state, verification
from pipeline.registry.loading import open_model
from pipeline.service import logs, running
from pipeline.serving.classifier import Classifier
from pipeline.tracking import server

_log = logging.getLogger("nsfw.serve")


@dataclass(frozen=True)
class Row:
    """What is said of one picture."""

    probabilities: list[float]
    unsafe: float
    decision: str | None


@dataclass(frozen=True)
class Loaded:
    """A registered version, as the service asks it."""

    name: str
    version: str
    classifier: Classifier
    squaring: Callable[[bytes], FrameSquares]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the answers."""
        return self.classifier.labels

    @property
    def size(self) -> int:
        """Side of its input, px."""
        return self.classifier.size

    @property
    def threshold(self) -> float | None:
        """Of the operating point for all unsafe classes; None where the version carries none."""
        return self.classifier.decision.threshold

    def score(self, squares: np.ndarray) -> list[Row]:
        """Return what the classifier says of uint8 (n, size, size, 3)."""
        found = self.classifier.classify(squares)
        columns = found.probabilities.tolist(), found.unsafe.tolist(), found.decisions
        return [Row(*row) for row in zip(*columns, strict=True)]


class Production:
    """What the registry says is in production, verified."""

    def __init__(self, params: Params, *, allow_unverified: bool = False) -> None:
        self._params, self._allow_unverified = params, allow_unverified

    def stamp(self) -> str:
        """Return what changes when anything is promoted or rolled back, or the alias is moved past us."""

        def read() -> str:
            with server.session() as client:
                now = state.read(client, self._params.register_)
            last = now.ledger.last
            return f"{now.model} {now.aliased} {now.production} {last and last.number} {now.ledger.broken}"

        return server.patiently(read)

    def load(self) -> Loaded:
        """Fetch, verify and load it; its files are gone again afterwards.

        Raises:
            UserError: nothing is in production, it is not what was judged, or it cannot be loaded.
            Unreachable: the server does not answer.

        """
        with tempfile.TemporaryDirectory(prefix="nsfw-serve-") as folder:
            found = server.patiently(
                lambda: verification.verify(self._params, allow_unverified=self._allow_unverified, into=Path(folder))
            )
            return loaded(found, self._params)


class Fixed:
    """One model, for good: what `asked` names, as `promotion.opening` opens it."""

    def __init__(self, params: Params, asked: str, *, allow_unverified: bool = False) -> None:
        self._params, self._asked, self._allow_unverified = params, asked, allow_unverified

    def stamp(self) -> str:
        """Return the same each time."""
        return self._asked

    def load(self) -> Loaded:
        """Fetch and load it.

        Raises:
            UserError: there is no such model, or it cannot be loaded.
            Unreachable: the server does not answer.

        """
        opened = server.patiently(
            lambda: open_model(self._params, self._asked, allow_unverified=self._allow_unverified)
        )
        return loaded(opened, self._params)


def loaded(found: verification.Verified, params: Params) -> Loaded:
    """Load a version that was fetched.

    Raises:
        UserError: its library does not load it, or its spec does not tell what it takes and gives.

    """
    for doubt in found.doubts:
        _log.warning("doubt, passed over", extra={"doubt": doubt})
    classifier = found.classifier()
    if classifier.decision.threshold is None:
        _log.warning(
            "no threshold, so no decisions: this version carries none; `dvc repro register` makes one that does"
        )
    squaring = Squaring(found.limits(Limits(**limits(params))), classifier.size)
    # A folder's own path is nobody's business outside.
    name, version = (found.model, str(found.version)) if found.version else (params.register_.model, "folder")
    return Loaded(name, version, classifier, squaring.frames_from_bytes)


def serve(
    params: Params,
    *,
    host: str,
    port: int,
    model: str | None = None,
    wait: bool = False,
    allow_unverified: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT: what is in production, or, for good, the version or alias `model`.

    Raises:
        UserError: nothing can be served, or the address cannot be listened at.

    """
    source: Production | Fixed = Production(params, allow_unverified=allow_unverified)
    if model is not None:
        source = Fixed(params, model, allow_unverified=allow_unverified)
    logs.set_up()
    running.serve(source, params.serve, host=host, port=port, wait=wait)
