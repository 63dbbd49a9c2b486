"""`nsfw serve`: runs the HTTP service on the registered version in production, once it is verified."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.images.limits import Limits
from pipeline.images.preprocessing import FramePixels
from pipeline.images.sandbox import WorkerLimits
from pipeline.params.root import Params
from pipeline.promotion.registration import limits
from pipeline.registry import state, verification
from pipeline.registry.loading import open_model
from pipeline.screening.doors import Door
from pipeline.screening.screens import open_screens
from pipeline.service import logs, running
from pipeline.serving.classifier import Classifier
from pipeline.tracking import server

_log = logging.getLogger("nsfw.serve")


@dataclass(frozen=True)
class Row:
    """The scores of one picture."""

    probabilities: list[float]
    unsafe: float
    decision: str | None


@dataclass(frozen=True)
class LoadedVersion:
    """A registered version, loaded for the service."""

    name: str
    version: str
    classifier: Classifier
    preprocess: Callable[[bytes], FramePixels]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.classifier.labels

    @property
    def size(self) -> int:
        """Side of the square input in pixels."""
        return self.classifier.size

    @property
    def threshold(self) -> float | None:
        """Of the operating point for all unsafe classes; None if the version has none."""
        return self.classifier.decision.threshold

    def score(self, pixels: np.ndarray) -> list[Row]:
        """Return the scores of uint8 (n, size, size, 3) pictures."""
        scores = self.classifier.classify(pixels)
        columns = scores.probabilities.tolist(), scores.unsafe.tolist(), scores.decisions
        return [Row(*row) for row in zip(*columns, strict=True)]


class ProductionVersion:
    """The version in production according to the registry, verified."""

    def __init__(self, params: Params, *, allow_unverified: bool = False) -> None:
        self._params, self._allow_unverified = params, allow_unverified

    def stamp(self) -> str:
        """Return a text that changes with each promotion or rollback, or if someone else moves the alias."""

        def read() -> str:
            with server.session() as client:
                now = state.read(client, self._params.register_)
            last = now.ledger.last
            return f"{now.model} {now.aliased} {now.production} {last and last.number} {now.ledger.broken}"

        return server.run_watched(read)

    def load(self) -> LoadedVersion:
        """Fetch, verify and load it; the fetched files are removed afterwards.

        Raises:
            UserError: nothing is in production, it differs from what was evaluated, or it cannot be loaded.
            Unreachable: the server does not answer.

        """
        with tempfile.TemporaryDirectory(prefix="nsfw-serve-") as folder:
            verified = server.run_watched(
                lambda: verification.verify(self._params, allow_unverified=self._allow_unverified, into=Path(folder))
            )
            return load_version(verified, self._params)


class FixedVersion:
    """One fixed model: `reference` names it, as in `registry.loading.open_model`."""

    def __init__(self, params: Params, reference: str, *, allow_unverified: bool = False) -> None:
        self._params, self._reference, self._allow_unverified = params, reference, allow_unverified

    def stamp(self) -> str:
        """Return the reference, which never changes."""
        return self._reference

    def load(self) -> LoadedVersion:
        """Fetch and load it.

        Raises:
            UserError: there is no such model, or it cannot be loaded.
            Unreachable: the server does not answer.

        """
        opened = server.run_watched(
            lambda: open_model(self._params, self._reference, allow_unverified=self._allow_unverified)
        )
        return load_version(opened, self._params)


def load_version(verified: verification.OpenedModel, params: Params) -> LoadedVersion:
    """Load a verified version.

    Raises:
        UserError: its library cannot load it, or its spec does not describe its input and output.

    """
    for doubt in verified.doubts:
        _log.warning("doubt ignored", extra={"doubt": doubt})
    classifier = verified.classifier()
    if classifier.decision.threshold is None:
        _log.warning(
            "no threshold, so no decisions: this version carries none; `dvc repro register` makes one that does"
        )
    preprocessor = classifier.preprocessor(verified.limits(Limits(**limits(params))))
    # Clients must not learn the path of a local folder.
    name, version = (verified.model, str(verified.version)) if verified.version else (params.register_.model, "folder")
    return LoadedVersion(name, version, classifier, preprocessor.frames_from_bytes)


def serve(
    params: Params,
    *,
    host: str,
    port: int,
    model: str | None = None,
    wait: bool = False,
    allow_unverified: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT: what is in production, or the fixed version, alias or folder `model`.

    Raises:
        UserError: there is no model to serve, or the address cannot be used.

    """
    source: ProductionVersion | FixedVersion = ProductionVersion(params, allow_unverified=allow_unverified)
    if model is not None:
        source = FixedVersion(params, model, allow_unverified=allow_unverified)
    logs.set_up()
    running.serve(source, params.serve, host=host, port=port, wait=wait, door=open_door(params, "serve"))


def open_door(params: Params, name: str) -> Door | None:
    """Return the screens of params.yaml for pictures that are posted; None without any.

    Raises:
        UserError: a list cannot be read, or has wrong lines.

    """
    own = params.serve
    cost = WorkerLimits(own.advanced.seconds, own.advanced.memory_mb, own.workers)
    screens = open_screens(params, cost=cost, patient=True)
    return None if screens is None else Door(screens, name, Path(params.ingest.screens.records))
