"""A model from elsewhere once it is prepared: converted or copied into a finished run record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.label_match import LabelMatch, listing
from pipeline.model_import.inspection import Format
from pipeline.model_import.options import ClassSource, Rescaling
from pipeline.registry.model_versions import Registration
from pipeline.serving.networks import Adapter


@dataclass(frozen=True)
class Incumbent:
    """A model from elsewhere, ready to be evaluated and registered.

    Attributes:
        folder: its finished run record.
        model: name of the model in that folder.
        adapter: converts between our pixels and labels and the model's own.
        size: side of its square input in pixels.
        match: its labels, in the order of the adapter's outputs, beside labels.names.
        classes: the file's own, in the order of its outputs.
        class_source: what defined that order: `said` (the user), `file`, or `params` (assumed as in params.yaml).
        format: of the original file.
        rescaling: what the model expects of pixel values.
        sha256: digest of the original file; for a folder, of its files, as in tracking.lineage.
        origin: name of the original file.

    """

    folder: Path
    model: str
    adapter: Adapter
    size: int
    match: LabelMatch
    classes: tuple[str, ...]
    class_source: ClassSource
    format: Format
    rescaling: Rescaling
    sha256: str
    origin: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The version's labels."""
        return self.match.labels

    @property
    def model_file(self) -> Path:
        """The model, which serving.networks can load."""
        return self.folder / self.model

    def to_document(self, registration: Registration) -> dict[str, Any]:
        """Return the model and its registration, for JSON."""
        return {
            "origin": self.origin,
            "format": self.format,
            "sha256": self.sha256,
            "classes": list(self.classes),
            "classes_stated_by": self.class_source,
            "labels": list(self.labels),
            "unsafe": list(self.match.unsafe),
            "size": self.size,
            "rescaling": self.rescaling,
            "adapter": self.adapter.to_document(),
            "record": str(self.folder),
            "model": registration.model,
            "version": registration.version,
            "uri": registration.uri,
        }

    def lines(self, registration: Registration) -> list[str]:
        """Return them for a terminal."""
        sources = {
            "said": "as stated",
            "file": "as it says itself",
            "params": "ASSUMED to be the order of labels.names in params.yaml; --classes states another",
        }
        version = registration.version
        outputs = f"its one output is that of {self.classes[1]}, the rest to 1 of {self.classes[0]}"
        if not self.adapter.single:
            outputs = f"its outputs are {', '.join(self.classes)}"
        return [
            f"{self.origin}: {self.format}, {self.size} px, rescaling {self.rescaling}, {self.adapter.resize.mode}",
            f"sha256 {self.sha256}",
            f"{outputs} ({sources[self.class_source]})",
            *self._other_labels(),
            f"registered: {registration.uri}, alias {registration.alias}",
            f"next: nsfw gates {version}; nsfw promote {version} --reason 'what runs today' --override ...",
        ]

    def _other_labels(self) -> list[str]:
        """Return what is judged of a model with other labels than labels.names."""
        match = self.match
        if match.same:
            return []
        by_class = listing(match.common) if match.common else "none"
        labels = f"its labels are {listing(match.labels)}; unsafe: {listing(match.unsafe)}"
        return [f"{labels}. It is judged as unsafe or safe; by class: {by_class}"]
